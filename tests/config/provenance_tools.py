"""Config sources written by hand, and lines found by what stands on them."""

import json
import os
import textwrap

from trainwright.config.origins import trace
from trainwright.config.sources import Base, SourceFile

STAR = (("*", "*"),)


def source(path, text, *bases, base_keys=(), keys=()):
    """A SourceFile as a reader would leave it. A base is a SourceFile, or (SourceFile, line, imports)."""
    file = SourceFile(str(path), text)
    file.base_keys = list(base_keys)
    file.keys = frozenset(keys)
    file.bases = [Base(base, 1, None) if isinstance(base, SourceFile) else Base(*base) for base in bases]
    if not str(path).endswith(".py"):
        file.syntax = "data"
    elif any(base.imports is not None for base in file.bases):
        file.syntax = "import"
    return file


def text_file(name, text, *bases, **kwargs):
    return source(os.path.abspath(name), textwrap.dedent(text).lstrip("\n"), *bases, **kwargs)


def line_of(file, snippet):
    """The number of the only line of a file that holds `snippet`."""
    lines = [i for i, line in enumerate(file.text.split("\n"), 1) if snippet in line]
    assert len(lines) == 1, f"{snippet!r} is on the lines {lines} of {file.path}"
    return lines[0]


def place(file, path, overrides=()):
    """(name of the file, line) for a dotted path or a tuple of keys."""
    keys = path if isinstance(path, tuple) else tuple(int(k) if k.isdigit() else k for k in path.split("."))
    origin = trace(file, overrides, keys)
    if origin is None:
        return None
    return origin.label if origin.file is None else (os.path.basename(origin.file), origin.line)


def check(file, expected, overrides=()):
    """`expected`: path -> snippet of the line in `file`, or (another file, snippet), or None."""
    found, wanted = {}, {}
    for path, where in expected.items():
        at, snippet = where if isinstance(where, tuple) else (file, where)
        wanted[path] = None if snippet is None else (os.path.basename(at.path), line_of(at, snippet))
        found[path] = place(file, path, overrides)
    assert found == wanted, json.dumps(
        {str(k): [found[k], wanted[k]] for k in found if found[k] != wanted[k]}, indent=1
    )
