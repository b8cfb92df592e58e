"""Data files: YAML and JSON. They are only ever parsed; nothing in them is executed or imported."""

from __future__ import annotations

import json
from typing import Any

from trainwright.base.errors import ConfigError
from trainwright.config.config_dict import ConfigDict
from trainwright.config.document import BASE_KEY, base_list, base_lookup
from trainwright.config.substitute import MARKER, Substituted

SUFFIXES = (".yaml", ".yml", ".json")


class DataDocument:
    """A parsed YAML or JSON config."""

    def __init__(self, source: Substituted, filename: str, suffix: str) -> None:
        self._filename = filename
        self._base_keys = source.base_keys
        parse = _parse_json if suffix == ".json" else _parse_yaml
        tree = parse(source.text, filename)
        if not isinstance(tree, dict):
            kind = "empty" if tree is None else f"a {type(tree).__name__}"
            raise ConfigError(f"a config must be a mapping of keys to values, this file is {kind}", filename)
        self._tree = tree
        before, found, _ = source.text.partition(BASE_KEY)
        self._base_line = before.count("\n") + 1 if found else None

    @property
    def base_line(self) -> int | None:
        return self._base_line if BASE_KEY in self._tree else None

    @property
    def bases(self) -> list[str]:
        if BASE_KEY not in self._tree:
            return []
        bases = base_list(self._tree[BASE_KEY], self._filename, self.base_line)
        for base in bases:
            if not base.lower().endswith(SUFFIXES):
                raise ConfigError(
                    f"{BASE_KEY} of a data file may name data files only ({', '.join(SUFFIXES)}), because reading one "
                    f"executes nothing; got {base!r}. Inherit from it in a .py config.",
                    self._filename,
                    self.base_line,
                )
        return bases

    def evaluate(self, base: ConfigDict) -> dict[Any, Any]:
        tree = {key: value for key, value in self._tree.items() if key != BASE_KEY}
        if not self._base_keys:
            return tree
        try:
            filled = _fill(tree, self._base_keys, base_lookup(base))
        except ConfigError as error:
            raise ConfigError(str(error), self._filename) from error
        assert isinstance(filled, dict)
        return filled


def _parse_json(text: str, filename: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"not valid JSON: {error.msg}", filename, error.lineno) from error
    except RecursionError as error:
        raise ConfigError("not valid JSON: nested too deep", filename) from error


def _parse_yaml(text: str, filename: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"not valid YAML: {error.problem}", filename, mark.line + 1 if mark else None) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"not valid YAML: {error}", filename) from error


def _fill(value: Any, base_keys: list[str], lookup: Any) -> Any:
    """Put the values of the base in place of the markers: whole, or as text within a longer string."""
    if isinstance(value, dict):
        return {_fill(key, base_keys, lookup): _fill(item, base_keys, lookup) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, base_keys, lookup) for item in value]
    if not isinstance(value, str):
        return value
    whole = MARKER.fullmatch(value)
    if whole:
        return lookup(base_keys[int(whole[1])])
    return MARKER.sub(lambda match: str(lookup(base_keys[int(match[1])])), value)
