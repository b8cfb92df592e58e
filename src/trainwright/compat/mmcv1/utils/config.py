"""Config files of MMCV 1.x, read and merged by ours."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.compat.mmcv1.errors import LackingError, RuleError
from trainwright.config import Config as BaseConfig
from trainwright.config import ConfigDict
from trainwright.config.merge import merge
from trainwright.config.options import DictAction as BaseDictAction
from trainwright.config.options import auto_argparser, parse_options
from trainwright.config.reading.files import ALL_SUFFIXES

__all__ = ["Config", "ConfigDict", "DictAction"]
BASE_KEY = "_base_"
DELETE_KEY = "_delete_"
DEPRECATION_KEY = "_deprecation_"
RESERVED_KEYS = ["filename", "text", "pretty_text"]
R = TypeVar("R")


class ConfigImportError(ConfigError, ModuleNotFoundError):
    """A config file that imports what there is not."""

    def __str__(self) -> str:
        return str(self.args[0])


class ConfigFormatError(ConfigError, OSError):
    """A config of a format that is not read."""

    def __str__(self) -> str:
        return str(self.args[0])


class Config(BaseConfig):
    """A config under MMCV 1.x's rules: text syntax, no environment variables, and its types of errors."""

    def __init__(self, cfg_dict: Any = None, cfg_text: Any = None, filename: Any = None, *settings: Any) -> None:
        if not isinstance(cfg_dict, (dict, type(None))):
            raise ConfigTypeError(f"cfg_dict must be a dict, got {cfg_dict!r} of type {type(cfg_dict).__name__}")
        _with_types(lambda: super(Config, self).__init__(cfg_dict, cfg_text, filename, *settings))

    @classmethod
    def _from_result(cls, result: Any, path: str | None, wrap: bool) -> Config:
        cfg = super()._from_result(result, path, True)
        assert isinstance(cfg, Config)
        return cfg

    @classmethod
    def fromfile(  # type: ignore[override]
        cls, filename: Any, use_predefined_variables: bool = True, import_custom_modules: bool = True
    ) -> Config:
        """Read a .py, .yaml, .yml or .json config with its bases."""
        if os.path.isfile(filename):
            _check_format(os.path.splitext(filename)[1], filename)
        cfg = _with_types(
            lambda: super(Config, cls).fromfile(
                filename, use_predefined_variables, import_custom_modules, False, lazy_import=False
            )
        )
        assert isinstance(cfg, Config)
        return cfg

    @classmethod
    def fromstring(cls, cfg_str: str, file_format: str) -> Config:  # type: ignore[override]
        """Read a config from text; `file_format` is a suffix."""
        _check_format(file_format, "file_format")
        cfg = _with_types(lambda: super(Config, cls).fromstring(cfg_str, file_format))
        assert isinstance(cfg, Config)
        return cfg

    @staticmethod
    def auto_argparser(description: str | None = None) -> tuple[argparse.ArgumentParser, Any]:
        """A parser with the config's keys as options, and the config that the first argument names."""
        return auto_argparser(Config.fromfile, description)

    @staticmethod
    def _merge_a_into_b(a: Any, b: Any, allow_list_keys: bool = False) -> Any:
        """`b` overridden by `a`, as a new dict."""
        return _with_types(lambda: merge(ConfigDict(a), ConfigDict(b), allow_list_keys))

    @property
    def text(self) -> str:
        """The text as read, bases first, each file below its path."""
        if self._text is not None:
            return self._text
        files = {file.path: file.text for file in self._source.chain()} if self._source is not None else {}
        return "\n".join(f"{path}\n{text}" for path, text in files.items())

    def merge_from_dict(
        self, options: Mapping[str, Any], allow_list_keys: bool = True, *, label: str = "merge_from_dict"
    ) -> None:
        """Override by dotted keys."""
        _with_types(lambda: super(Config, self).merge_from_dict(options, allow_list_keys, label=label))

    def dump(self, file: Any = None) -> Any:
        """Write the config to `file` in the format of its suffix; without one, give the text, in the format it has."""
        suffix = os.path.splitext(os.fspath(file) if file is not None else self.filename or ".py")[1]
        if suffix == ".py":
            return super().dump(file)
        from trainwright.compat.mmcv1.fileio import dump

        return dump(self.to_dict(), file=file, file_format=suffix.removeprefix("."))


class DictAction(BaseDictAction):
    """Collects `KEY=VALUE` arguments into a dict; a repeated flag replaces it, as in MMCV."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        given = [values] if isinstance(values, str) else list(values or ())
        for option in given:
            for left, right in ("()", "[]"):
                if option.count(left) != option.count(right):
                    raise RuleError(f"option {option!r}: there are other numbers of {left!r} than of {right!r}")
        setattr(namespace, self.dest, parse_options(given))


def _check_format(suffix: str, what: Any) -> None:
    if suffix not in ALL_SUFFIXES:
        raise ConfigFormatError(f"{what}: only {', '.join(ALL_SUFFIXES)} are read as configs, got {suffix!r}")


def _with_types(action: Callable[[], R]) -> R:
    """Do `action`; a ConfigError of no other type becomes one that is caught as MMCV's error of that case is."""
    try:
        return action()
    except ConfigError as error:
        if type(error) is not ConfigError:
            raise
        kind = ConfigImportError if isinstance(error.__cause__, ModuleNotFoundError) else LackingError
        found: ConfigError = kind(str(error))
        found.filename, found.lineno = error.filename, error.lineno
        raise found from error
