"""Overrides given on the command line: `KEY=VALUE`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from trainwright.base.defaults import defaults
from trainwright.base.errors import ConfigError, RuleError
from trainwright.base.logs import print_log

_BRACKETS = {"[": "]", "(": ")"}
_WORDS = {"true": True, "false": False}


def parse_options(options: Iterable[str]) -> dict[str, Any]:
    """`["a.b=1", "c=[1,2]"]` -> `{"a.b": 1, "c": [1, 2]}`.

    A value is an integer, a number, true or false (any case), None, a list `[a,b]` or `a,b`, a tuple `(a,b)`, nested as
    needed, or else a string. Quotes around a value are dropped.
    """
    parsed: dict[str, Any] = {}
    for option in options:
        key, separator, value = option.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"an option is written KEY=VALUE, got {option!r}")
        parsed[key.strip()] = _value(value, option)
    return parsed


class DictAction(argparse.Action):
    """argparse action that collects `KEY=VALUE` arguments into one dict; repeated flags add to it."""

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        """A value alone, as text: scripts of OpenMMLab read their own options by it."""
        return _value(val, val)

    @staticmethod
    def _parse_int_float_bool(val: str) -> Any:
        return _scalar(val)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        given = [values] if isinstance(values, str) else list(values or ())
        collected = dict(getattr(namespace, self.dest, None) or {})
        try:
            collected.update(parse_options(given))
        except ConfigError as error:
            if isinstance(error, RuleError) and defaults.package == "mmengine":
                raise  # as there, in place of the usage
            raise argparse.ArgumentError(self, str(error)) from error
        setattr(namespace, self.dest, collected)


def _value(text: str, option: str) -> Any:
    text = text.strip().strip("'\"").strip()
    closing = _BRACKETS.get(text[:1])
    if closing and text.endswith(closing) and len(text) > 1 and not _is_several(text):
        items = [_value(item, option) for item in _split(text[1:-1], option)]
        return items if closing == "]" else tuple(items)
    if "," in text:
        parts = _split(text, option)
        if parts != [text]:  # else every comma is within brackets, as in f(a,b)
            return [_value(part, option) for part in parts]
    return _scalar(text)


def _is_several(text: str) -> bool:
    """Whether the first bracket closes before the end, as in `(1,2),(3,4)`."""
    depth = 0
    for i, char in enumerate(text):
        depth += (char in "[(") - (char in "])")
        if depth == 0:
            return text[i + 1 :].lstrip().startswith(",")
    return False


def _split(text: str, option: str) -> list[str]:
    """The items between commas that no bracket encloses; a last empty one does not count."""
    items, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char in "[(") - (char in "])")
        if depth < 0:
            break
        if char == "," and depth == 0:
            items.append(text[start:i])
            start = i + 1
    if depth != 0:
        raise RuleError(f"option {option!r}: brackets do not match")
    if text[start:].strip():
        items.append(text[start:])
    return items


def _scalar(text: str) -> Any:
    if text == "None":
        return None
    with suppress(ValueError):
        return int(text)
    with suppress(ValueError):
        return float(text)
    return _WORDS.get(text.lower(), text)


def auto_argparser(read: Callable[[str], Any], description: str | None = None) -> tuple[argparse.ArgumentParser, Any]:
    """See `Config.auto_argparser`."""
    first = argparse.ArgumentParser(description=description, add_help=False)
    first.add_argument("config", help="config file path")
    cfg = read(first.parse_known_args()[0].config)
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("config", help="config file path")
    return add_args(parser, cfg.to_dict()), cfg


def add_args(parser: argparse.ArgumentParser, cfg: dict[Any, Any], prefix: str = "") -> argparse.ArgumentParser:
    """Gives `parser` an option for each value of `cfg` whose type says what it takes; names are dotted."""
    for key, value in cfg.items():
        flag = f"--{prefix}{key}"
        if isinstance(value, dict):
            add_args(parser, value, f"{prefix}{key}.")
        elif isinstance(value, bool):
            parser.add_argument(flag, action="store_true")
        elif isinstance(value, (str, int, float)):
            parser.add_argument(flag, type=type(value))
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], (str, int, float)):
            parser.add_argument(flag, type=type(value[0]), nargs="+")
        else:
            print_log(
                f"{flag} is no option: its value is {value!r}, whose type says nothing about what to take", "current"
            )
    return parser
