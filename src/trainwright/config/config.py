"""Config: a tree read from files, overridden by options, written back as text."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from typing import Any

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.config.config_dict import ConfigDict
from trainwright.config.dump import format_config, format_data
from trainwright.config.imports import import_custom
from trainwright.config.merge import expand_options, merge
from trainwright.config.reader import ALL_SUFFIXES, ReadOptions, read_file, read_string

RESERVED_KEYS = ("filename", "text", "pretty_text", "env_variables")


class Config:
    """The settings of a run: a ConfigDict with the file it came from. Keys are reached as items or as attributes.

    >>> cfg = Config.fromfile("configs/digits/cnn.py")
    >>> cfg.merge_from_dict({"optim_wrapper.optimizer.lr": 0.02})
    >>> cfg.dump("run.py")

    Next simpler thing: ConfigDict.
    """

    _cfg_dict: ConfigDict
    _filename: str | None
    _text: str
    _env_variables: dict[str, str]
    _files: list[str]
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
            raise ConfigError(f"{reserved[0]!r} is an attribute of Config and cannot be a key: rename it", path)
        if cfg_text is None and path is not None:
            with open(path, encoding="utf-8") as file:
                cfg_text = file.read()
        vars(self).update(
            _cfg_dict=tree if isinstance(tree, ConfigDict) else ConfigDict(tree),
            _filename=path,
            _text=cfg_text or "",
            _env_variables=dict(env_variables or {}),
            _files=[] if path is None else [path],
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
    ) -> Config:
        """Read a `.py`, `.yaml`, `.yml` or `.json` config with its bases.

        `use_predefined_variables` and `use_environment_variables` switch the substitution of `{{ fileDirname }}` and
        its like and of `{{ $NAME:default }}`. `import_custom_modules` governs `.py` files only, whose `custom_imports`
        are imported; a data file never imports: one with `custom_imports` is refused unless this is False, which keeps
        the key as data. `lazy_import=True`, the import syntax, is refused. `format_python_code=False` keeps each key
        of `pretty_text` on one line.
        """
        path = os.fspath(filename)
        if lazy_import:
            raise ConfigError("lazy_import=True asks for the import syntax, which this version does not read", path)
        result = read_file(path, ReadOptions(use_predefined_variables, use_environment_variables))
        cfg = cls(result.tree, result.text, path, result.env, format_python_code)
        vars(cfg)["_files"] = result.files
        if import_custom_modules:
            import_custom(cfg)
        return cfg

    @classmethod
    def fromstring(cls, cfg_str: str, file_format: str) -> Config:
        """Read a config from text; `file_format` is '.py', '.yaml', '.yml' or '.json'. Bases are found from the
        current folder.
        """
        if file_format not in ALL_SUFFIXES:
            raise ConfigError(f"file_format must be one of {', '.join(ALL_SUFFIXES)}, got {file_format!r}")
        result = read_string(cfg_str, file_format, ReadOptions(predefined_variables=False))
        cfg = cls(result.tree, cfg_str, None, result.env)
        if file_format == ".py":
            import_custom(cfg)
        return cfg

    # -- overriding and writing ----------------------------------------------------------------------------------------
    def merge_from_dict(self, options: Mapping[str, Any], allow_list_keys: bool = True) -> None:
        """Override by dotted keys: `{"model.depth": 50, "pipeline.0.size": 32}`.

        With `allow_list_keys` a number selects an item of a list. `_delete_=True` in a dict replaces what was there.
        """
        vars(self)["_cfg_dict"] = merge(expand_options(options), self._cfg_dict, allow_list_keys)

    def dump(self, file: str | os.PathLike[str] | None = None) -> str | None:
        """Write the config to `file`, in the format of its suffix; without `file`, return the text (in the format it
        was read).
        """
        path = os.fspath(file) if file is not None else None
        suffix = os.path.splitext(path or self._filename or ".py")[1] or ".py"
        if suffix not in ALL_SUFFIXES:
            raise ConfigError(f"a config is written as {', '.join(ALL_SUFFIXES)}; got {path!r}")
        text = self.pretty_text if suffix == ".py" else format_data(self._cfg_dict, suffix)
        if path is None:
            return text
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
        return None

    @property
    def pretty_text(self) -> str:
        """The config as Python text that reads back as an equal tree."""
        return format_config(self._cfg_dict, wrap=self._format_python_code)

    def to_dict(self) -> dict[Any, Any]:
        """The tree as plain dicts, sharing nothing but leaves."""
        return self._cfg_dict.to_dict()

    @property
    def filename(self) -> str | None:
        return self._filename

    @property
    def text(self) -> str:
        """The text as read, bases first, each file below its name."""
        return self._text

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
        vars(other).update(copy.deepcopy(vars(self), memo))
        return other

    def __getstate__(self) -> dict[str, Any]:
        return vars(self).copy()

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
