"""What the corpus tests share: which files there are, how one is read by either engine, and its result as plain JSON.

Runs under any Python from 3.10 that has one of the engines: nothing but the standard library is imported here.

    python corpus_tools.py PATH ...     reads those files (or all) with MMEngine and prints {path: result} as JSON
"""

from __future__ import annotations

import builtins
import datetime
import json
import os
import re
import sys
import warnings
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

CORPUS = Path(__file__).resolve().parent / "corpus"
SITE = CORPUS / "site"  # packages with configs inside, and the metadata that makes them "installed"
SUFFIXES = (".py", ".yaml", ".yml", ".json")
# What the environment holds while the corpus is read; every name that is not here and begins with TW_ is unset.
ENVIRONMENT = {"TW_SET": "from_the_environment", "TW_NUMBER": "17"}


def corpus_files() -> list[str]:
    """Every config of the corpus, as a path relative to it."""
    found = []
    for path in sorted(CORPUS.rglob("*")):
        inner = path.relative_to(CORPUS).as_posix()
        if path.suffix not in SUFFIXES or path.parent == CORPUS or path.name == "__init__.py":
            continue
        if path.name in ("metafile.yml", "model-index.yml"):
            continue
        found.append(inner)
    return found


def prepare_environment(environ: Any) -> None:
    """Make `environ` what the expected results were made with."""
    for name in [name for name in environ if name.startswith("TW_")]:
        del environ[name]
    environ.update(ENVIRONMENT)


def canonical_tree(tree: dict[Any, Any]) -> Any:
    """`cfg.to_dict()` as JSON. Functions and modules at the top are what a file worked with, and no settings."""
    working = (FunctionType, BuiltinFunctionType, ModuleType)
    return canonical({key: value for key, value in tree.items() if not isinstance(value, working)})


def canonical(value: Any) -> Any:
    """`value` as JSON that differs where values differ: types that JSON lacks are tagged."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return value.replace(str(CORPUS), "<corpus>")
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else {"<float>": repr(value)}
    if isinstance(value, dict):
        return {_key(key): canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, tuple):
        return {"<tuple>": [canonical(item) for item in value]}
    if isinstance(value, (set, frozenset)):
        items = sorted((canonical(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
        return {f"<{type(value).__name__}>": items}
    return _other(value)


def text_of(value: Any) -> str:
    """A canonical value as text, for comparing: 1, 1.0 and True are three values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key if not key.startswith("<") else f"<str {key!r}>"
    if isinstance(key, (int, float, type(None), bytes)):
        return f"<{key!r}>"
    return f"<{text_of(canonical(key))}>"


def _other(value: Any) -> Any:
    if isinstance(value, (slice, range, bytes, complex, type(...), datetime.date, datetime.datetime)):
        return {f"<{type(value).__name__}>": repr(value)}
    if isinstance(value, ModuleType):
        return value.__name__
    if hasattr(value, "_module") and hasattr(value, "build"):  # a lazy object that to_dict() left as it is: MMEngine
        return f"{value.module}.{value}"
    dotted = getattr(value, "dotted", None)
    if isinstance(dotted, str):
        return dotted
    name = getattr(value, "__qualname__", None)
    if isinstance(name, str):
        return f"{_module_of(value, name)}.{name}"
    return {"<object>": f"{type(value).__module__}.{type(value).__qualname__}"}


def _module_of(value: Any, name: str) -> str:
    """The module of a class or function; "__config__" when the config made it, whatever the engine calls that."""
    module = getattr(value, "__module__", None)
    if module == "builtins":
        return module if getattr(builtins, name, None) is value else "__config__"
    return module or "__config__"


def _without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", text)


# -- reading with MMEngine ---------------------------------------------------------------------------------------------
def read_with_mmengine(inner: str) -> Any:
    """`{"value": ...}`, or "MMEngine: <error type>: <message>"."""
    from mmengine.config import Config

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result: Any = {"value": canonical_tree(Config.fromfile(str(CORPUS / inner)).to_dict())}
    except (Exception, SystemExit) as error:  # noqa: BLE001 - any failure of MMEngine is its result
        message = str(error).replace(str(CORPUS), "<corpus>").split("\n")[0]
        message = re.sub(r"/\S*/tmp\w+/", "<folder>/", message)
        result = f"MMEngine: {type(error).__name__}: {_without_addresses(message)[:160]}"
    json.dumps(result)
    return result


def main(paths: list[str]) -> int:
    """Print what MMEngine makes of the files."""
    import logging

    logging.disable(logging.CRITICAL)
    prepare_environment(os.environ)
    sys.path.insert(0, str(SITE))
    print(json.dumps({inner: read_with_mmengine(inner) for inner in paths or corpus_files()}))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
