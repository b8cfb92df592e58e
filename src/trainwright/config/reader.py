"""From a file and its bases to one plain tree."""

from __future__ import annotations

import os
import warnings
from typing import Any, NamedTuple

from trainwright.base.errors import ConfigError, ConfigNotFoundError, ConfigTypeError, add_note
from trainwright.base.text import did_you_mean
from trainwright.config.bases import find_base
from trainwright.config.config_dict import ConfigDict, fresh
from trainwright.config.document import BASE_KEY, Document
from trainwright.config.merge import merge
from trainwright.config.reader_data import SUFFIXES, DataDocument
from trainwright.config.reader_py import PyDocument
from trainwright.config.substitute import substitute

DEPRECATION_KEY = "_deprecation_"
ALL_SUFFIXES = (".py", *SUFFIXES)


class ReadOptions(NamedTuple):
    """Which text substitutions are made."""

    predefined_variables: bool = True
    environment_variables: bool = True


class ReadResult:
    """A file with its bases merged below it. `text` and `files` go from the furthest base to the file itself."""

    def __init__(self) -> None:
        self.tree = ConfigDict()
        self.text = ""
        self.env: dict[str, str] = {}
        self.files: list[str] = []


def read_file(filename: str, options: ReadOptions) -> ReadResult:
    """Read a config file and everything it inherits from."""
    path = os.path.abspath(os.path.expanduser(filename))
    return _finished(_read_path(path, options, ()), path)


def read_string(text: str, suffix: str, options: ReadOptions) -> ReadResult:
    """Read a config that is in no file; its bases are found from the current folder."""
    name = os.path.join(os.getcwd(), f"<string>{suffix}")
    return _finished(_read_text(text, name, options, (name,)), name)


def _finished(result: ReadResult, path: str) -> ReadResult:
    try:
        result.tree = fresh(result.tree)  # a value that two keys took from one place becomes two values
    except RecursionError as error:
        raise ConfigError("a value contains itself, or is nested too deep", path) from error
    return result


def _read_path(path: str, options: ReadOptions, chain: tuple[str, ...]) -> ReadResult:
    if path in chain:
        steps = " -> ".join([*chain[chain.index(path) :], path])
        raise ConfigError(f"{BASE_KEY} goes in a circle: {steps}", path)
    if os.path.splitext(path)[1] not in ALL_SUFFIXES:
        raise ConfigError(f"a config file ends in {', '.join(ALL_SUFFIXES)}; got {os.path.basename(path)!r}", path)
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except FileNotFoundError as error:
        raise ConfigNotFoundError(f"config file {path!r} does not exist.{_near_files(path)}") from error
    except UnicodeDecodeError as error:
        lineno = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"not UTF-8 text: {error.reason}", path, lineno) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}", path) from error
    return _read_text(text, path, options, (*chain, path))


def _read_text(text: str, path: str, options: ReadOptions, chain: tuple[str, ...]) -> ReadResult:
    suffix = os.path.splitext(path)[1]
    is_py = suffix == ".py"
    source = substitute(text, path, options.predefined_variables, options.environment_variables, suffix == ".json")
    document: Document = PyDocument(source, path) if is_py else DataDocument(source, path, suffix)
    result = _read_bases(document, path, options, chain)
    own = document.evaluate(result.tree)
    _warn_deprecated(own.pop(DEPRECATION_KEY, None), path)
    try:
        result.tree = merge(own, result.tree)
    except ConfigTypeError as error:
        raise ConfigTypeError(str(error), path) from error
    except RecursionError as error:
        raise ConfigError("a value contains itself, or is nested too deep", path) from error
    result.text += f"{path}\n{text}\n"
    result.env.update(source.env)
    result.files.append(path)
    return result


def _read_bases(document: Document, path: str, options: ReadOptions, chain: tuple[str, ...]) -> ReadResult:
    merged = ReadResult()
    origin: dict[Any, str] = {}
    for name in document.bases:
        base_path = find_base(name, path, document.base_line)
        if not os.path.exists(base_path):
            raise ConfigNotFoundError(
                f"{BASE_KEY} names {name!r}, but {base_path!r} does not exist.{_near_files(base_path)}",
                path,
                document.base_line,
            )
        try:
            base = _read_path(base_path, options, chain)
        except ConfigError as error:
            add_note(error, f"inherited by {path}:{document.base_line}")
            raise
        duplicates = sorted(str(key) for key in base.tree if key in merged.tree)
        if duplicates:
            raise ConfigError(
                f"two bases both define {', '.join(map(repr, duplicates))}: {origin[duplicates[0]]} and {base_path}. A "
                "key may come from one base only; let one of the bases inherit from the other.",
                path,
                document.base_line,
            )
        origin.update(dict.fromkeys(map(str, base.tree), base_path))
        dict.update(merged.tree, base.tree)
        merged.text += base.text
        merged.env.update(base.env)
        merged.files += base.files
    return merged


def _warn_deprecated(note: Any, path: str) -> None:
    if isinstance(note, dict):
        more = f" See {note['reference']}." if "reference" in note else ""
        warnings.warn(
            f"the config {path} is deprecated; use {note.get('expected', 'another')} instead.{more}",
            DeprecationWarning,
            stacklevel=2,
        )


def _near_files(path: str) -> str:
    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        return f" Its folder {folder!r} does not exist either."
    return did_you_mean(name, sorted(f for f in os.listdir(folder) if f.endswith(ALL_SUFFIXES)))
