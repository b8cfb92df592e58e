"""From a file and its bases to one plain tree."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

from trainwright.base.errors import (
    ConfigError,
    ConfigFormatError,
    ConfigKeyError,
    ConfigNotFoundError,
    ConfigTypeError,
    add_note,
)
from trainwright.base.text import did_you_mean
from trainwright.config.config_dict import ConfigDict, fresh
from trainwright.config.merge import MergeConflict, merge
from trainwright.config.reading.bases import Place, config_root, find_base, find_module, is_within
from trainwright.config.reading.data import SUFFIXES, DataDocument
from trainwright.config.reading.document import BASE_KEY, STAR, BaseRequest, Document, Evaluated, Inherited
from trainwright.config.reading.python import parse_marked, parse_python
from trainwright.config.reading.split import has_bases, parse_module
from trainwright.config.reading.substitute import Substituted, substitute
from trainwright.config.reading.syntax import base_assignment, has_import_syntax
from trainwright.config.sources import Base, SourceFile

DEPRECATION_KEY = "_deprecation_"
ALL_SUFFIXES = (".py", *SUFFIXES)
MAX_ITEMS = 100_000  # of a file that is not run, more than any in use holds; a copy takes a fraction of a second


class ReadOptions(NamedTuple):
    """How files are read. `root` is None for files that are trusted; others are not run, and may name bases below it
    only.
    """

    predefined_variables: bool = True
    environment_variables: bool = True
    lazy_import: bool | None = None
    root: str | None = None


class ReadResult:
    """A file with its bases. `hidden` are the keys of `tree` that are lazy imports; `helpers` are not in the tree."""

    def __init__(self, source: SourceFile) -> None:
        self.source = source
        self.tree = ConfigDict()
        self.env: dict[str, str] = {}
        self.hidden: frozenset[str] = frozenset()
        self.helpers: Mapping[str, Any] = {}


def read_file(filename: str, options: ReadOptions, trusted: bool = True) -> ReadResult:
    """Read a config file and everything it inherits from."""
    path = os.path.abspath(os.path.expanduser(filename))
    if not trusted:
        options = options._replace(root=config_root(path))
    return _read_path(Place(path, os.path.expanduser(filename)), options, ())


def read_string(text: str, suffix: str, options: ReadOptions, trusted: bool = True) -> ReadResult:
    """Read a config that is in no file; its bases are found from the current folder."""
    name = os.path.join(os.getcwd(), f"<string>{suffix}")
    if not trusted:
        options = options._replace(root=os.getcwd())
    return _read_text(text, Place(name, name), options, (name,))


def _unshared(tree: Any, source: SourceFile, limit: int | None = None) -> ConfigDict:
    """`tree` in which a value that two keys took from one place is two values."""
    try:
        copied: ConfigDict = fresh(tree, limit)
    except RecursionError as error:
        raise _endless(tree, source) from error
    except ConfigError as error:
        raise ConfigError(str(error), source.path, 1) from error
    return copied


def _endless(tree: Any, source: SourceFile) -> ConfigError:
    key = next((key for key, value in dict.items(tree) if _is_endless(value)), None)
    message = f"the value of {key!r} contains itself, or is nested too deep"
    return ConfigError(message, source.path, _line(source, (key,)))


def _is_endless(value: Any) -> bool:
    try:
        fresh(value)
    except RecursionError:
        return True
    return False


def _read_path(place: Place, options: ReadOptions, chain: tuple[str, ...]) -> ReadResult:
    path = place.path
    if path in chain:
        steps = " -> ".join([*chain[chain.index(path) :], path])
        raise ConfigError(f"{BASE_KEY} goes in a circle: {steps}", path)
    if os.path.splitext(path)[1] not in ALL_SUFFIXES and os.path.exists(path):
        raise ConfigFormatError(
            f"a config file ends in {', '.join(ALL_SUFFIXES)}; got {os.path.basename(path)!r}", path
        )
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except FileNotFoundError as error:
        raise ConfigNotFoundError(f"config file {path!r} does not exist.{_near_files(path)}") from error
    except UnicodeDecodeError as error:
        lineno = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"not UTF-8 text: {error.reason}", path, lineno) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}", path, 1) from error
    return _read_text(text, place, options, (*chain, path))


def _read_text(text: str, place: Place, options: ReadOptions, chain: tuple[str, ...]) -> ReadResult:
    result = ReadResult(SourceFile(place.path, text))
    document = _document(result, options, place.imported)
    inherited = _read_bases(result, document, place, options, chain)
    own = document.evaluate(inherited)
    result.source.keys = frozenset(own.tree)
    _warn_deprecated(own.tree.pop(DEPRECATION_KEY, None), place.path)
    if document.syntax != "text" or options.root is not None:
        limit = MAX_ITEMS if document.syntax == "data" or options.root is not None else None
        own = own._replace(tree=_unshared(own.tree, result.source, limit))
    if document.syntax == "import":
        result.tree, result.hidden, result.helpers = ConfigDict(own.tree), own.hidden, own.helpers
        return result
    result.tree = _merged(own, inherited, result)
    if result.source.code.count(BASE_KEY) > 1:
        result.tree = _unshared(result.tree, result.source)  # it may hold a value of its base twice
    result.hidden |= own.hidden
    return result


def _merged(own: Evaluated, inherited: Inherited, result: ReadResult) -> ConfigDict:
    source = result.source
    try:
        return merge(own.tree, inherited.tree)
    except MergeConflict as error:
        raise ConfigTypeError(str(error), source.path, _line(source, error.keys)) from error
    except RecursionError as error:
        raise _endless(own.tree, source) from error


def _document(result: ReadResult, options: ReadOptions, imported: bool) -> Document:
    """The parsed file, after substitution where its syntax has any."""
    source = result.source
    path, text = source.path, source.text
    suffix = os.path.splitext(path)[1]
    lazy_import = options.lazy_import
    if lazy_import is None and imported and not has_bases(text, path):
        lazy_import = True  # what its names are must not depend on whether it happens to import a library
    substituted = Substituted(text)
    if "{{" in text and not (suffix == ".py" and is_import_syntax(text, path, lazy_import)):
        predefined, environment = options.predefined_variables, options.environment_variables
        substituted = substitute(text, path, predefined, environment, suffix == ".json", options.root is None)
    source.code, source.base_keys = substituted.text, substituted.base_keys
    result.env.update(substituted.env)
    document: Document
    if suffix != ".py":
        document = DataDocument(substituted.text, substituted.base_keys, path, suffix)
    elif options.root is not None:
        from trainwright.config.reading.literal import LiteralDocument

        document = LiteralDocument(substituted.text, substituted.base_keys, path, lazy_import)
    elif substituted.base_keys:
        document = parse_marked(substituted.text, path, substituted.base_keys, lazy_import)
    else:
        document = parse_python(substituted.text, path, lazy_import)
    source.syntax = document.syntax
    return document


def is_import_syntax(text: str, path: str, lazy_import: bool | None) -> bool:
    """Whether a Python file has the import syntax, in which `{{ }}` means nothing."""
    if lazy_import is not None:
        return lazy_import
    try:
        module = parse_module(text, path)
    except ConfigError:
        return False  # it may parse when `{{ }}` is filled in
    return base_assignment(module) is None and has_import_syntax(module)


def _read_bases(
    result: ReadResult, document: Document, place: Place, options: ReadOptions, chain: tuple[str, ...]
) -> Inherited:
    inherited = Inherited(place.shown)
    origin: dict[Any, str] = {}
    read: dict[str, ReadResult] = {}
    for request in document.requests:
        if request.imports is None:
            base = _read_base(request, find_base(request.name, place.path, request.line), result, options, chain)
            _join(inherited, base, origin, result, request)
        else:
            if request.name in read:
                result.source.bases.append(Base(read[request.name].source, request.line, request.imports))
            else:
                found = find_module(request.name, place.shown, request.line)
                read[request.name] = _read_base(request, found, result, options, chain)
            _import(inherited, read[request.name], request, result)
    return inherited


def _read_base(
    request: BaseRequest, place: Place, result: ReadResult, options: ReadOptions, chain: tuple[str, ...]
) -> ReadResult:
    child, line = result.source.path, request.line
    if options.root is not None and place.scope is None and not is_within(place.path, options.root):
        raise ConfigError(
            f"{request.name!r} lies outside of {options.root!r}, and a config that is not trusted may inherit from "
            "files below that folder only",
            child,
            line,
        )
    if not os.path.exists(place.path):
        raise ConfigNotFoundError(
            f"{_how_named(request)} names {request.name!r}, but {place.path!r} does not exist."
            f"{_near_files(place.path)}",
            child,
            line,
        )
    if options.root is not None and place.root is not None:
        options = options._replace(root=place.root)
    try:
        base = _read_path(place, options, chain)
    except ConfigError as error:
        if error.lineno is None:  # what is wrong is how the base is named: a circle, a suffix
            raise type(error)(str(error), child, line) from error
        add_note(error, f"inherited by {child}:{line}")
        raise
    if place.scope is not None:
        _set_scope(base.tree, place.scope)
    result.source.bases.append(Base(base.source, line, request.imports, request.name))
    result.env.update(base.env)
    return base


def _how_named(request: BaseRequest) -> str:
    return BASE_KEY if request.imports is None else "read_base()"


def _set_scope(value: Any, scope: str) -> None:
    """Let the outermost dicts with a `type` be built in the package that they come from, as MMEngine does."""
    if isinstance(value, ConfigDict):
        if "type" in value:
            if dict.get(value, "_scope_") is None:
                value["_scope_"] = scope
            return
        for item in dict.values(value):
            _set_scope(item, scope)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _set_scope(item, scope)


def _join(
    inherited: Inherited, base: ReadResult, origin: dict[Any, str], result: ReadResult, request: BaseRequest
) -> None:
    """Put a `_base_` beside the others. No two of them may define a key."""
    path = base.source.path
    duplicates = sorted(str(key) for key in base.tree if key in inherited.tree and key not in base.hidden)
    if duplicates:
        raise ConfigKeyError(
            f"two bases both define {', '.join(map(repr, duplicates))}: {origin[duplicates[0]]} and {path}. A "
            "key may come from one base only; let one of the bases inherit from the other.",
            result.source.path,
            request.line,
        )
    origin.update(dict.fromkeys(map(str, base.tree), path))
    dict.update(inherited.tree, dict.items(base.tree))
    result.hidden |= base.hidden


def _import(inherited: Inherited, base: ReadResult, request: BaseRequest, result: ReadResult) -> None:
    """Bind the names of `from base import ...`."""
    names = inherited.blocks.setdefault(request.block, {})
    tree = dict(dict.items(base.tree))
    for name, bound in request.imports or ():
        if name == STAR:
            names.update(tree)
            names.update(base.helpers)
            inherited.helpers.update(base.helpers)
            inherited.hidden |= base.hidden
        elif name in tree:
            names[bound] = tree[name]
            inherited.hidden |= {bound} if name in base.hidden else set()
        elif name in base.helpers:
            names[bound] = inherited.helpers[bound] = base.helpers[name]
        else:
            raise ConfigError(
                f"there is no {name!r} in {base.source.path}.{did_you_mean(name, map(str, tree))}",
                result.source.path,
                request.line,
            )


def _line(source: SourceFile, keys: tuple[Any, ...]) -> int:
    """The line of the file that sets the value at `keys`."""
    from trainwright.config.origins import trace

    origin = trace(source, (), keys)
    return origin.line or 1 if origin is not None and origin.file == source.path else 1


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
