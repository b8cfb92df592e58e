"""The steps of reading a config one by one, by MMEngine's names, for code that calls them itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from trainwright.base.errors import ConfigFormatError, ConfigNotFoundError
from trainwright.config.config_dict import ConfigDict, to_config
from trainwright.config.merge import merge, merge_list
from trainwright.config.reading.bases import find_base
from trainwright.config.reading.data import SUFFIXES, DataDocument
from trainwright.config.reading.document import base_lookup
from trainwright.config.reading.files import ReadOptions, is_import_syntax, read_file
from trainwright.config.reading.split import parse_module
from trainwright.config.reading.substitute import BASE_REFERENCE, substitute


class Steps:
    """Reading goes through none of them: it keeps the line of each value, which these do not."""

    @staticmethod
    def _file2dict(
        filename: str | os.PathLike[str],
        use_predefined_variables: bool = True,
        use_environment_variables: bool = True,
        lazy_import: bool | None = None,
    ) -> tuple[dict[Any, Any], str, dict[str, str]]:
        """The tree of a file with its bases, their text, and the environment variables that were substituted."""
        path = os.fspath(filename)
        result = read_file(path, ReadOptions(use_predefined_variables, use_environment_variables, lazy_import))
        return result.tree, result.source.chain_text(), result.env

    @staticmethod
    def _validate_py_syntax(filename: str) -> None:
        """ConfigSyntaxError, with its line, where a file is no Python."""
        parse_module(_text_of(filename), filename)

    @staticmethod
    def _is_lazy_import(filename: str) -> bool:
        """Whether a file has the import syntax."""
        return filename.endswith(".py") and is_import_syntax(_text_of(filename), filename, None)

    @staticmethod
    def _substitute_predefined_vars(filename: str, temp_config_name: str) -> None:
        """Write the file with the values of ``{{ fileDirname }}`` and its like, which are those of its own path."""
        _write(temp_config_name, substitute(_text_of(filename), filename, True, False, bases=False).text)

    @staticmethod
    def _substitute_env_variables(filename: str, temp_config_name: str) -> dict[str, str]:
        """Write the file with the values of ``{{ $NAME:default }}``; gives those that were in the environment."""
        done = substitute(_text_of(filename), filename, False, True, bases=False)
        _write(temp_config_name, done.text)
        return done.env

    @staticmethod
    def _pre_substitute_base_vars(filename: str, temp_config_name: str) -> dict[str, str]:
        """Write the file with a marker, in quotes, for each ``{{ _base_.key }}``; gives the key of each marker."""
        import uuid  # not with the package

        markers: dict[str, str] = {}

        def marked(key: str) -> str:
            if key not in markers:
                markers[key] = f"_{key}_{uuid.uuid4().hex[:6]}"
            return f'"{markers[key]}"'

        _write(temp_config_name, BASE_REFERENCE.sub(lambda match: marked(match[1]), _text_of(filename)))
        return {marker: key for key, marker in markers.items()}

    @staticmethod
    def _substitute_base_vars(cfg: Any, base_var_dict: Mapping[str, str], base_cfg: Mapping[Any, Any]) -> Any:
        """A copy of ``cfg`` in which each marker has the value of its key in ``base_cfg``."""
        if isinstance(cfg, dict):
            items = dict.items(cfg)
            return type(cfg)({key: Steps._substitute_base_vars(v, base_var_dict, base_cfg) for key, v in items})
        if isinstance(cfg, (list, tuple)):
            return type(cfg)(Steps._substitute_base_vars(item, base_var_dict, base_cfg) for item in cfg)
        if isinstance(cfg, str) and cfg in base_var_dict:
            return base_lookup(ConfigDict(base_cfg))(base_var_dict[cfg])
        return cfg

    @staticmethod
    def _get_base_files(filename: str) -> list[str]:
        """What ``_base_`` of a file names, as it stands there."""
        text, suffix = _text_of(filename), os.path.splitext(filename)[1]
        if suffix == ".py":
            from trainwright.config.reading.python import parse_python

            requests = parse_python(text, filename, False).requests
        elif suffix in SUFFIXES:
            requests = DataDocument(text, [], filename, suffix).requests
        else:
            raise ConfigFormatError(f"a config file ends in .py, {', '.join(SUFFIXES)}; got {filename!r}")
        return [request.name for request in requests]

    @staticmethod
    def _get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        """The file that ``_base_ = cfg_path`` in ``filename`` names, and its package if it is ``package::path``."""
        if "::" not in cfg_path:
            return os.path.join(os.path.dirname(filename), cfg_path), None
        place = find_base(cfg_path, filename, None)
        return place.path, place.scope

    @staticmethod
    def _merge_a_into_b(a: dict[Any, Any], b: Any, allow_list_keys: bool = False) -> Any:
        """``b`` overridden by ``a``, as a copy; where ``b`` is a list, by the indices that are the keys of ``a``."""
        if isinstance(b, list):
            return merge_list(a, to_config(b), ())
        return merge(a, to_config(b), allow_list_keys)


def _text_of(filename: str) -> str:
    try:
        with open(filename, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError as error:
        raise ConfigNotFoundError(f"config file {filename!r} does not exist.") from error


def _write(filename: str, text: str) -> None:
    with open(filename, "w", encoding="utf-8") as file:
        file.write(text)
