"""Data files: YAML and JSON. They are only ever parsed; nothing in them is executed or imported."""

from __future__ import annotations

import json
import re
from typing import Any

from trainwright.base.errors import ConfigError
from trainwright.config.config_dict import weighs_less
from trainwright.config.reading.document import BASE_KEY, BaseRequest, Evaluated, Inherited, base_list, base_lookup
from trainwright.config.reading.substitute import MARKER
from trainwright.config.sources import Syntax

SUFFIXES = (".yaml", ".yml", ".json")
MAX_TEXT = 1_000_000
_LONG_NUMBER = re.compile(r"\d{4000,}")


class DataDocument:
    """A parsed YAML or JSON config."""

    syntax: Syntax = "data"

    def __init__(self, text: str, base_keys: list[str], filename: str, suffix: str) -> None:
        self._filename = filename
        self._text = text
        self._base_keys = base_keys
        parse = _parse_json if suffix == ".json" else _parse_yaml
        tree = parse(text, filename)
        if not isinstance(tree, dict):
            kind = "empty" if tree is None else f"a {type(tree).__name__}"
            raise ConfigError(f"a config must be a mapping of keys to values, this file is {kind}", filename, 1)
        self._tree = tree
        self.requests = self._requests() if BASE_KEY in tree else []

    def _requests(self) -> list[BaseRequest]:
        line = self._line_of(BASE_KEY)
        bases = base_list(self._tree[BASE_KEY], self._filename, line)
        for base in bases:
            if not base.lower().endswith(SUFFIXES):
                raise ConfigError(
                    f"{BASE_KEY} of a data file may name data files only ({', '.join(SUFFIXES)}), because reading one "
                    f"executes nothing; got {base!r}. Inherit from it in a .py config.",
                    self._filename,
                    line,
                )
        return [BaseRequest(base, line) for base in bases]

    def _line_of(self, word: str) -> int:
        return self._text.partition(word)[0].count("\n") + 1

    def evaluate(self, inherited: Inherited) -> Evaluated:
        tree = {key: value for key, value in self._tree.items() if key != BASE_KEY and not str(key).startswith("__")}
        if not self._base_keys:
            return Evaluated(tree)
        filled = self._fill(tree, base_lookup(inherited.tree))
        assert isinstance(filled, dict)
        return Evaluated(filled)

    def _fill(self, value: Any, lookup: Any) -> Any:
        """Put the values of the base in place of the markers: whole, or as text within a longer string."""
        if isinstance(value, dict):
            return {self._fill_key(key, lookup): self._fill(item, lookup) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)([self._fill(item, lookup) for item in value])
        if not isinstance(value, str):
            return value
        whole = MARKER.fullmatch(value)
        if whole:
            return self._look_up(whole, lookup)
        filled = MARKER.sub(lambda match: self._text_of(match, lookup), value)
        if len(filled) > MAX_TEXT:
            line = self._line_of(value.partition("\n")[0])
            raise ConfigError(f"a text of more than {MAX_TEXT:,} characters", self._filename, line)
        return filled

    def _text_of(self, match: re.Match[str], lookup: Any) -> str:
        value = self._look_up(match, lookup)
        if isinstance(value, (dict, list, tuple)) and not weighs_less(value, MAX_TEXT // 100):
            line = self._line_of(match[0])
            raise ConfigError("a value too large to stand within a text", self._filename, line)
        return str(value)

    def _fill_key(self, key: Any, lookup: Any) -> Any:
        filled = self._fill(key, lookup)
        try:
            hash(filled)
        except TypeError:
            raise ConfigError(
                f"{filled!r} cannot be a key of a mapping", self._filename, self._line_of(str(key))
            ) from None
        return filled

    def _look_up(self, match: re.Match[str], lookup: Any) -> Any:
        try:
            return lookup(self._base_keys[int(match[1])])
        except ConfigError as error:
            raise type(error)(str(error), self._filename, self._line_of(match[0])) from error


def _parse_json(text: str, filename: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"not valid JSON: {error.msg}", filename, error.lineno) from error
    except RecursionError as error:
        raise ConfigError("not valid JSON: nested too deep", filename, _deepest_line(text)) from error
    except ValueError as error:
        raise ConfigError(f"not valid JSON: {error}", filename, _long_number_line(text)) from error


def _parse_yaml(text: str, filename: str) -> Any:
    import yaml

    from trainwright.config.yaml_tags import read

    try:
        return read(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"not valid YAML: {error.problem}", filename, mark.line + 1 if mark else 1) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, max(error.position, 0)) + 1
        raise ConfigError(f"not valid YAML: {error.reason}", filename, line) from error
    except RecursionError as error:
        raise ConfigError("not valid YAML: nested too deep", filename, _deepest_line(text)) from error
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise ConfigError(f"not valid YAML: {error}", filename, _long_number_line(text)) from error


def _deepest_line(text: str) -> int:
    """The line at which the brackets are open deepest."""
    depth = deepest = 0
    line = found = 1
    for char in text:
        if char == "\n":
            line += 1
        depth += (char in "[{") - (char in "]}")
        if depth > deepest:
            deepest, found = depth, line
    return found


def _long_number_line(text: str) -> int:
    match = _LONG_NUMBER.search(text)
    return text.count("\n", 0, match.start()) + 1 if match else 1
