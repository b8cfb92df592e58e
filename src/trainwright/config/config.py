"""Config: a tree read from files, overridden by options, written back as text."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from trainwright.base.errors import ConfigError, ConfigFormatError, ConfigKeyError, ConfigTypeError
from trainwright.base.lazy import LazyObject
from trainwright.base.places import add_finder
from trainwright.config.config_dict import ConfigDict, dicts, look_up, shared
from trainwright.config.imports import import_custom, refuse_custom
from trainwright.config.merge import expand_options, merge, option_keys
from trainwright.config.reading.files import ALL_SUFFIXES, ReadOptions, ReadResult, read_file, read_string
from trainwright.config.sources import Override, SourceFile
from trainwright.config.steps import Steps

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from trainwright.config.origins import Origin

RESERVED_KEYS = ("filename", "text", "pretty_text", "env_variables")


class Config(Steps):
    """The settings of a run: a ConfigDict with the file it came from. Keys are reached as items or as attributes.

    >>> cfg = Config.fromfile("configs/digits/cnn.py")
    >>> cfg.merge_from_dict({"optim_wrapper.optimizer.lr": 0.02})
    >>> cfg.dump("run.py")

    Next simpler thing: ConfigDict.
    """

    _cfg_dict: ConfigDict
    _filename: str | None
    _text: str | None
    _env_variables: dict[str, str]
    _source: SourceFile | None
    _overrides: list[Override]
    _imported_names: set[str]
    _format_python_code: bool

    def __init__(
        self,
        cfg_dict: Mapping[Any, Any] | None = None,
        cfg_text: str | None = None,
        filename: str | os.PathLike[str] | None = None,
        env_variables: dict[str, str] | None = None,
        format_python_code: bool = True,
    ) -> None:
        tree = {} if cfg_dict is None else cfg_dict
        if not isinstance(tree, dict):
            raise ConfigTypeError(f"cfg_dict must be a dict, got {tree!r} of type {type(tree).__name__}")
        path = None if filename is None else os.fspath(filename)
        reserved = [key for key in RESERVED_KEYS if key in tree]
        if reserved:
            raise ConfigKeyError(f"{reserved[0]!r} is an attribute of Config and cannot be a key: rename it", path)
        if cfg_text is None and path is not None:
            with open(path, encoding="utf-8") as file:
                cfg_text = file.read()
        vars(self).update(
            _cfg_dict=tree if isinstance(tree, ConfigDict) else ConfigDict(tree),
            _filename=path,
            _text=cfg_text or "",
            _env_variables=dict(env_variables or {}),
            _source=None,
            _overrides=[],
            _imported_names=set(),
            _format_python_code=format_python_code,
        )

    # -- reading -------------------------------------------------------------------------------------------------------
    @classmethod
    def fromfile(
        cls,
        filename: str | os.PathLike[str],
        use_predefined_variables: bool = True,
        import_custom_modules: bool = True,
        use_environment_variables: bool = True,
        lazy_import: bool | None = None,
        format_python_code: bool = True,
        *,
        trusted: bool = True,
    ) -> Config:
        """Read a `.py`, `.yaml`, `.yml` or `.json` config with its bases.

        A `.py` file has the text syntax (`_base_ = "./base.py"`) or the import syntax (`with read_base(): from .base
        import *`, and imports of classes, which are not imported before they are built); a base may have the other.

        Args:
            filename: Path of the file.
            use_predefined_variables: Substitute `{{ fileDirname }}` and its like, in text syntax and data files.
            import_custom_modules: Import what `custom_imports` names. A data file never imports: one with
                `custom_imports` is refused unless this is False, which keeps the key as data.
            use_environment_variables: Substitute `{{ $NAME:default }}`.
            lazy_import: True reads the file in the import syntax, False it and its bases in the text syntax, in which
                imports run at once; None goes by what stands in each file.
            format_python_code: False keeps each key of `pretty_text` on one line.
            trusted: False runs nothing of the file: literals, variables and bases are read, and whatever would need
                to be run is an error that names its line. Bases must lie below the nearest folder `configs` above the
                file, else below the current folder or beside the file. The environment is not read.

        Raises:
            ConfigError: The file or a base cannot be read; `filename` and `lineno` tell where.
        """
        path = os.fspath(filename)
        options = ReadOptions(use_predefined_variables, use_environment_variables, lazy_import)
        cfg = cls._from_result(read_file(path, options, trusted), path, format_python_code)
        if import_custom_modules and not trusted:
            refuse_custom(cfg)
        elif import_custom_modules:
            import_custom(cfg)
        return cfg

    @classmethod
    def fromstring(cls, cfg_str: str, file_format: str, *, trusted: bool = True) -> Config:
        """Read a config from text; `file_format` is '.py', '.yaml', '.yml' or '.json'. Bases are found from the
        current folder. `trusted=False` runs nothing, as in `fromfile`.
        """
        if file_format not in ALL_SUFFIXES:
            raise ConfigFormatError(f"file_format must be one of {', '.join(ALL_SUFFIXES)}, got {file_format!r}")
        result = read_string(cfg_str, file_format, ReadOptions(predefined_variables=False), trusted)
        cfg = cls._from_result(result, None, True)
        if not trusted:
            refuse_custom(cfg)
        elif file_format == ".py":
            import_custom(cfg)
        return cfg

    @classmethod
    def _from_result(cls, result: ReadResult, path: str | None, wrap: bool) -> Config:
        for key in RESERVED_KEYS:
            if key in result.tree:
                origin = _trace(result.source, (), (key,))
                place = (origin.file, origin.line) if origin is not None else (result.source.path, None)
                raise ConfigError(f"{key!r} is an attribute of Config and cannot be a key: rename it", *place)
        cfg = cls(result.tree, "", path, result.env, wrap)
        vars(cfg).update(_source=result.source, _text=None, _imported_names=set(result.hidden))
        _read.add(cfg)
        return cfg

    @staticmethod
    def auto_argparser(description: str | None = None) -> tuple[ArgumentParser, Config]:
        """A parser whose options are the keys of the config that the first argument names, and that config.

        `--model.depth 50` takes a value of the type that the config has there; a flag stands for True; a list takes
        several values of the type of its first item.
        """
        from trainwright.config.options import auto_argparser

        return auto_argparser(Config.fromfile, description)

    # -- overriding and writing ----------------------------------------------------------------------------------------
    def merge_from_dict(
        self, options: Mapping[str, Any], allow_list_keys: bool = True, *, label: str = "merge_from_dict"
    ) -> None:
        """Override by dotted keys: `{"model.depth": 50, "pipeline.0.size": 32}`.

        With `allow_list_keys` a number selects an item of a list. `_delete_=True` in a dict replaces what was there.
        `label` says where the options come from, for whoever asks for the origin of a value.
        """
        tree = merge(expand_options(options), self._cfg_dict, allow_list_keys)
        overrides = [Override(keys, value, label) for keys, value in option_keys(options, tree)]
        vars(self).update(_cfg_dict=tree, _overrides=[*self._overrides, *overrides])

    @staticmethod
    def diff(cfg1: str | os.PathLike[str] | Config, cfg2: str | os.PathLike[str] | Config) -> str:
        """What differs between two configs or config files, by meaning: a tree of the leaves that changed, each with
        its old and its new value. "" when nothing does. Modules that the files name are not imported.
        """
        from trainwright.config.diff import diff, render

        def tree(cfg: str | os.PathLike[str] | Config) -> dict[Any, Any]:
            read = cfg if isinstance(cfg, Config) else Config.fromfile(cfg, import_custom_modules=False)
            return read._to_lazy_dict()

        return render(diff(tree(cfg1), tree(cfg2)))

    def dump(self, file: str | os.PathLike[str] | None = None) -> str | None:
        """Write the config to `file`, in the format of its suffix; without `file`, return the text (in the format it
        was read).
        """
        path = os.fspath(file) if file is not None else None
        suffix = os.path.splitext(path or self._filename or ".py")[1] or ".py"
        if suffix not in ALL_SUFFIXES:
            raise ConfigError(f"a config is written as {', '.join(ALL_SUFFIXES)}; got {path!r}")
        if suffix == ".py":
            text = self.pretty_text
        else:
            from trainwright.config.writing import format_data

            text = format_data(self.to_dict(), suffix)
        if path is None:
            return text
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
        return None

    @property
    def pretty_text(self) -> str:
        """The config as Python text that reads back as an equal tree. It depends on nothing else."""
        from trainwright.config.writing import format_config

        return format_config(self._cfg_dict, self._imported(), wrap=self._format_python_code)

    def to_dict(self, keep_imported: bool = False) -> dict[Any, Any]:
        """The tree as plain dicts, sharing nothing but leaves; lazy objects as the text of their dotted names.

        Names that the file only imported are left out unless `keep_imported`.
        """
        hidden = () if keep_imported else self._imported()
        return {key: value for key, value in self._cfg_dict.to_dict().items() if key not in hidden}

    def _to_lazy_dict(self, keep_imported: bool = False) -> dict[Any, Any]:
        """The tree as plain dicts, lazy objects as they are."""
        hidden = () if keep_imported else self._imported()
        return {key: value for key, value in self._cfg_dict._to_lazy_dict().items() if key not in hidden}

    def _imported(self) -> set[str]:
        """Names that were imported and have not been given another value since."""
        return {name for name in self._imported_names if isinstance(dict.get(self._cfg_dict, name), LazyObject)}

    # -- where it came from --------------------------------------------------------------------------------------------
    @property
    def source(self) -> SourceFile | None:
        """The file it was read from, with its bases."""
        return self._source

    @property
    def overrides(self) -> list[Override]:
        """What was set after reading, by `merge_from_dict`."""
        return self._overrides

    def origin(self, key: str | Sequence[Any]) -> Origin | None:
        """The file and line, or the override, that set a value. None when that is not known.

        >>> str(cfg.origin("optim_wrapper.optimizer.lr"))
        'configs/digits/cnn.py:31'
        """
        keys = tuple(_as_key(part) for part in key.split(".")) if isinstance(key, str) else tuple(key)
        return _trace(self._source, self._overrides, keys, look_up(self._cfg_dict, keys))

    @property
    def filename(self) -> str | None:
        return self._filename

    @property
    def text(self) -> str:
        """The text as read, bases first, each file once and below its name."""
        if self._text is not None:
            return self._text
        return "" if self._source is None else self._source.chain_text()

    @property
    def env_variables(self) -> dict[str, str]:
        """The environment variables that were substituted, and their values."""
        return self._env_variables

    # -- a mapping by delegation ---------------------------------------------------------------------------------------
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_cfg_dict":  # not there yet while unpickling
            raise AttributeError(name)
        return getattr(self._cfg_dict, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in RESERVED_KEYS:
            raise AttributeError(f"{name!r} is an attribute of Config and cannot be set as a key")
        setattr(self._cfg_dict, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._cfg_dict, name)

    def __getitem__(self, key: Any) -> Any:
        return self._cfg_dict[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._cfg_dict[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._cfg_dict[key]

    def __contains__(self, key: Any) -> bool:
        return key in self._cfg_dict

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cfg_dict)

    def __len__(self) -> int:
        return len(self._cfg_dict)

    def __repr__(self) -> str:
        return f"Config (path: {self._filename}): {self._cfg_dict!r}"

    def copy(self) -> Config:
        """A shallow copy: nested values are shared."""
        other = type(self).__new__(type(self))
        vars(other).update(vars(self), _cfg_dict=self._cfg_dict.copy())
        return other

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Config:
        other = type(self).__new__(type(self))
        memo[id(self)] = other
        vars(other).update(vars(self), _cfg_dict=copy.deepcopy(self._cfg_dict, memo))  # the rest does not change
        _read.add(other)
        return other

    def __getstate__(self) -> dict[str, Any]:
        tree = shared(self._cfg_dict)
        for key, value in dict.items(self._cfg_dict):
            if isinstance(value, FunctionType):  # the config's own, which no other process could find
                dict.pop(tree, key)
        return {**vars(self), "_cfg_dict": tree, "_text": self.text}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


_read: WeakSet[Config] = WeakSet()  # the configs that there are


def _place(tree: dict[Any, Any]) -> str | None:
    """Where a dict stands in one of the configs: its keys and the line."""
    for cfg in list(_read):
        keys = next((keys for keys, found in dicts((), cfg._cfg_dict) if found is tree), None)
        if keys:
            origin = cfg.origin(keys) or cfg.filename
            return ".".join(map(str, keys)) + ("" if origin is None else f" ({origin})")
    return None


add_finder(_place)


def _trace(
    source: SourceFile | None, overrides: Sequence[Override], keys: tuple[Any, ...], *value: Any
) -> Origin | None:
    from trainwright.config.origins import trace

    return trace(source, overrides, keys, *value)


def _as_key(part: str) -> Any:
    return int(part) if part.isdigit() else part


@contextmanager
def read_base() -> Iterator[None]:
    """Marks, in the import syntax, the imports that are bases: `with read_base(): from .base import *`.

    The reader takes the block out before it runs the file; outside of a config it does nothing.
    """
    yield
