"""Reads every config of a project by `mmengine.Config`, whosever that is, and writes what it has read.

    python tests/clients/read_configs.py mmpretrain OUT.jsonl
    python -m trainwright.compat mmengine -- tests/clients/read_configs.py mmpretrain OUT.jsonl --text

A line a config: its path, the resolved tree and the seconds of a processor that reading took, or the error. With
`--text` also the tree that its pretty text gives when it is read, and the seconds that writing the text took, which
with MMEngine is longer than all the rest. Configs are those of the wheel's `.mim/configs` and the package's `configs`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any


def root_of(project: str) -> Path:
    found = importlib.util.find_spec(project)
    if found is None or found.origin is None:
        raise SystemExit(f"{project} is not installed")
    return Path(found.origin).parent


def configs_of(project: str) -> list[Path]:
    """Of a project, those that are meant to be read alone or as a base: scripts lie among them."""
    root = root_of(project)
    places = [root / ".mim" / "configs", root / "configs"]
    files = [path for place in places for path in sorted(place.rglob("*.py")) if path.name != "__init__.py"]
    return [path for path in files if not {"metafile.py", "override_category.py"} & {path.name}]


def plain(value: Any) -> Any:
    """The tree in JSON's types, order kept; what is none of them by its type and text."""
    if isinstance(value, dict):
        return {"dict": [[str(key), plain(part)] for key, part in value.items()]}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [plain(part) for part in value]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    if isinstance(value, type) or callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"
    return f"{type(value).__name__}: {value}"


def read(path: Path, with_text: bool) -> dict[str, Any]:
    """One config, or why it could not be read."""
    from mmengine.config import Config

    start = time.process_time()
    try:
        config = Config.fromfile(str(path), import_custom_modules=False)
        found = {"load_s": time.process_time() - start, "tree": plain(config.to_dict())}
        if with_text:
            start = time.process_time()
            text = config.pretty_text
            found["text_s"] = time.process_time() - start
            found["text_tree"] = plain(Config.fromstring(text, ".py").to_dict())
    except Exception as error:  # noqa: BLE001 - that is what is recorded
        return {"error": f"{type(error).__name__}: {error}"}
    return found


def main(project: str, out: str, with_text: bool) -> None:
    warnings.simplefilter("ignore")
    root = root_of(project)
    environment = dict(os.environ)
    with open(out, "w", encoding="utf-8") as lines:
        for path in configs_of(project):
            lines.write(json.dumps({"path": path.relative_to(root).as_posix(), **read(path, with_text)}) + "\n")
            os.environ.clear()
            os.environ.update(environment)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], "--text" in sys.argv)
