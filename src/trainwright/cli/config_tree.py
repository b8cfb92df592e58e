"""``trainwright config tree``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

from trainwright.base.errors import ConfigError
from trainwright.cli.terminal import echo_json, echo_styled, short_path
from trainwright.config import Config
from trainwright.config.sources import Base, SourceFile

Styled = tuple[str, str]


def show_tree(config: str, as_json: bool) -> None:
    """Write the files of a config, each below the one that names it."""
    source = Config.fromfile(config, import_custom_modules=False).source
    if source is None:
        raise ConfigError(f"{config!r} was read from no file")
    counts = Counter(file.path for file in source.chain())
    if as_json:
        echo_json(_as_dict(source, counts))
        return
    rows = [[(short_path(source.path), "bold"), *_times(source, counts)], *_rows(source, "", counts)]
    echo_styled([part for i, row in enumerate(rows) for part in ([("\n", "")] if i else []) + row])


def _rows(file: SourceFile, indent: str, counts: Counter[str]) -> Iterator[list[Styled]]:
    for base in file.bases:
        is_last = base is file.bases[-1]
        row = [(indent + ("└── " if is_last else "├── "), "dim"), (_name(base, file), "bold")]
        yield [*row, *_times(base.file, counts), (f"  {_how(base, file)}", "dim")]
        yield from _rows(base.file, indent + ("    " if is_last else "│   "), counts)


def _times(file: SourceFile, counts: Counter[str]) -> list[Styled]:
    n = counts[file.path]
    return [(f"  read {n} times", "yellow")] if n > 1 else []


def _name(base: Base, child: SourceFile) -> str:
    """`package::path` if it was written so, else the path from the folder of the config that names it."""
    return base.name if "::" in base.name else os.path.relpath(base.file.path, os.path.dirname(child.path))


def _how(base: Base, child: SourceFile) -> str:
    where = f"{os.path.basename(child.path)}:{base.line}"
    if base.imports is None:
        return where
    names = ", ".join(name if name == here else f"{name} as {here}" for name, here in base.imports)
    return f"{where} imports {'everything' if names == '*' else names}"


def _as_dict(file: SourceFile, counts: Counter[str]) -> dict[str, Any]:
    bases = [
        {"name": _name(base, file), "line": base.line, "imports": base.imports, **_as_dict(base.file, counts)}
        for base in file.bases
    ]
    return {"path": file.path, "syntax": file.syntax, "times_read": counts[file.path], "bases": bases}
