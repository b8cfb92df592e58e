"""YAML, read and written without executing anything.

Beside YAML's own types there are tuples, under the tag by which PyYAML writes them, and slices: both are plain data.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from trainwright.config.config_dict import weighs_less
from trainwright.config.reading.substitute import OPENING
from trainwright.config.writing.text import integer

_TEXT_TAG = "tag:yaml.org,2002:str"
_INT_TAG = "tag:yaml.org,2002:int"
TUPLE_TAG = "tag:yaml.org,2002:python/tuple"
SLICE_TAG = "!slice"
MAX_TUPLE = 10_000


# libyaml's loader is seven times as fast and overflows the stack on a file that nests deeply; this one cannot.
_MAY_NEST_DEEPLY = re.compile(r"^[ \-?]{200}", re.MULTILINE)


class _Checked:
    """Reports a value that has the form of a date or number and is none as what it is, with its place."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)  # type: ignore[misc]
        except (ValueError, OverflowError) as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error


class _Loader(_Checked, yaml.SafeLoader):
    """The loader in Python. Its scanner takes time with the square of the depth, so the depth has a bound."""

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:
        if self.flow_level >= 200:
            raise yaml.scanner.ScannerError(None, None, "nested too deep", self.get_mark())
        super().fetch_flow_collection_start(TokenClass)


class _FastLoader(_Checked, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The loader in C."""


def _tuple(loader: Any, node: Any) -> tuple[Any, ...]:
    value = tuple(loader.construct_sequence(node, deep=True))
    if not weighs_less(value, MAX_TUPLE):  # as a key it would be hashed, place by place
        raise yaml.constructor.ConstructorError(
            None, None, f"a tuple of more than {MAX_TUPLE:,} items when it is written out", node.start_mark
        )
    return value


def _slice(loader: Any, node: Any) -> slice:
    parts = loader.construct_sequence(node, deep=True)
    if len(parts) != 3:
        raise yaml.constructor.ConstructorError(None, None, "!slice takes [start, stop, step]", node.start_mark)
    return slice(*parts)


for _kind in (_Loader, _FastLoader):
    _kind.add_constructor(TUPLE_TAG, _tuple)
    _kind.add_constructor(SLICE_TAG, _slice)


def read(text: str) -> Any:
    """The value of a YAML text."""
    deep = text.count("[") + text.count("{") > 500 or _MAY_NEST_DEEPLY.search(text)
    reader = (_Loader if deep else _FastLoader)(text)
    try:
        return reader.get_single_data()
    finally:
        reader.dispose()


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: Any, value: str) -> Any:
    """A text that would be substituted when the file is read gets quotes, within which it can be escaped."""
    return dumper.represent_scalar(_TEXT_TAG, value, '"') if OPENING.search(value) else dumper.represent_str(value)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(int, lambda dumper, value: dumper.represent_scalar(_INT_TAG, integer(value)))
_Dumper.add_representer(tuple, lambda dumper, value: dumper.represent_sequence(TUPLE_TAG, value, flow_style=True))
_Dumper.add_representer(
    slice, lambda dumper, value: dumper.represent_sequence(SLICE_TAG, [value.start, value.stop, value.step], True)
)


def write(tree: Any) -> str:
    """`tree` as YAML text in block style."""
    text: str = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False)
    return OPENING.sub(lambda match: "{\\x7b" + match[0][2:], text)
