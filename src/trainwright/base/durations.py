"""Lengths with a unit: '90k it', '12 ep', '300M tok', '8 h', '1d 12h'."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.text import did_you_mean

ITERATIONS, EPOCHS, TOKENS, SECONDS = "it", "ep", "tok", "s"
_COUNTED = {
    ITERATIONS: ("it", "iter", "iters", "iteration", "iterations", "ba", "batch", "batches"),
    EPOCHS: ("ep", "epoch", "epochs"),
    TOKENS: ("tok", "token", "tokens"),
}
_TIMES = {
    86400: ("d", "day", "days"),
    3600: ("h", "hr", "hour", "hours"),
    60: ("m", "min", "minute", "minutes"),
    1: ("s", "sec", "second", "seconds"),
}
# word -> (what is counted, how many of it one is)
_UNITS = {name: (kind, 1) for kind, names in _COUNTED.items() for name in names}
_UNITS.update({name: (SECONDS, seconds) for seconds, names in _TIMES.items() for name in names})
_SCALES = {"k": 10**3, "M": 10**6, "G": 10**9, "B": 10**9}
# A scale stands before a unit that is counted, or at the end, as in '90k'. So '5m' is minutes, and '5M' lacks a unit.
_PART = re.compile(r"\s*(\d[\d_]*(?:\.\d+)?(?:e\d+)?)\s*([kKMGB](?=\s*(?:it|ba|ep|tok|$)))?\s*([A-Za-z]*)[\s]*")
_WORDS = {ITERATIONS: "iterations", EPOCHS: "epochs", TOKENS: "tokens", SECONDS: "time"}
_EXAMPLES = {ITERATIONS: "'90k it'", EPOCHS: "'12 ep'", TOKENS: "'300M tok'", SECONDS: "'1d 12h'"}
KNOWN_UNITS = "it, ep, tok, d, h, min (or m) and s"


class Duration(NamedTuple):
    """So many of one kind: iterations, epochs or tokens (whole numbers), or seconds."""

    amount: float
    kind: str

    def __str__(self) -> str:
        return f"{self.amount:g} s" if self.kind == SECONDS else f"{int(self.amount):,} {self.kind}"


def parse_duration(value: Any, name: str) -> Duration:
    """What the text `value` of the setting `name` says; parts of one kind add up, as in '1d 12h'."""
    rule = f"{name} must be a number with a unit, such as {', '.join(_EXAMPLES.values())}"
    if not isinstance(value, str):
        raise ConfigTypeError(f"{rule}, but got {value!r}.")
    parts = [_of_word(amount, word, f"{rule}, but got {value!r}.") for amount, word in _parts(value, rule)]
    kinds = sorted({kind for _, kind in parts})
    if len(kinds) > 1:
        raise ConfigError(
            f"{name}={value!r} has {' and '.join(_WORDS[kind] for kind in kinds)} in one: give one kind. Beside "
            "max_epochs or max_iters, whichever is reached first ends the training."
        )
    return _checked(Duration(sum(amount for amount, _ in parts), kinds[0]), value, rule)


def whole_number(value: Any, name: str, kind: str) -> int:
    """`value` of train_cfg's setting `name` as a number of `kind`: whole and at least 1, or a text such as '90k it'."""
    rule = f"{name} must be a whole number, or a text such as {_EXAMPLES[kind]}"
    knob = f"Set train_cfg=dict({name}=...)."
    if isinstance(value, str):
        problem = f"{rule}, but got {value!r}."
        found = [_of_word(amount, word or kind, problem) for amount, word in _parts(value, rule)]
        other = next((part.kind for part in found if part.kind != kind), None)
        if other is not None:
            raise ConfigError(f"{rule}, but got {value!r}, which is in {_WORDS[other]}. {knob}")
        return int(_checked(Duration(sum(part.amount for part in found), kind), value, rule).amount)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value % 1 != 0:
        raise ConfigTypeError(f"{rule}, but got {value!r}. {knob}")
    if value <= 0:
        raise ConfigError(f"{name} must be at least 1, but got {value}. {knob}")
    return int(value)


def seconds_of(value: Any, name: str) -> float:
    """Seconds of a number, or of a text such as '8h', '1d 12h' or '90min'."""
    rule = f"{name} must be a number of seconds above 0, or a text such as '8h', '1d 12h', '90min' or '30s'"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ConfigTypeError(f"{rule}, but got {value!r}.")
    if isinstance(value, str):
        found = [_of_word(*part, f"{rule}, but got {value!r}.") for part in _parts(value, rule)]
        if any(kind != SECONDS for _, kind in found):
            raise ConfigError(f"{rule}, but got {value!r}. Units are d, h, min (or m) and s.")
        value = sum(amount for amount, _ in found)
    return float(_checked(Duration(value, SECONDS), value, rule).amount)


def _parts(text: str, rule: str) -> list[tuple[float, str]]:
    """(number, unit as it is written) of each part."""
    parts, place = [], 0
    while place < len(text) and (found := _PART.match(text, place)) is not None:
        number = found[1].replace("_", "")
        scale = _SCALES[found[2].replace("K", "k")] if found[2] else 1
        parts.append(((float(number) if "." in number or "e" in number else int(number)) * scale, found[3]))
        place = found.end()
    if not parts or place != len(text):
        raise ConfigError(f"{rule}, but got {text!r}. Units are {KNOWN_UNITS}; k, M and G (or B) are thousands, "
                          "millions and thousands of millions.")  # fmt: skip
    return parts


def _of_word(amount: float, word: str, problem: str) -> Duration:
    if not word:
        raise ConfigError(f"{problem} The unit is missing: {KNOWN_UNITS}.")
    if word.lower() not in _UNITS:
        hint = did_you_mean(word, _UNITS)
        raise ConfigError(f"{problem} There is no unit {word!r}: units are {KNOWN_UNITS}.{hint}")
    kind, size = _UNITS[word.lower()]
    return Duration(amount * size, kind)


def _checked(found: Duration, value: Any, rule: str) -> Duration:
    amount, kind = found
    if not 0 < amount < math.inf or (kind != SECONDS and amount < 1):
        raise ConfigError(f"{rule}, but got {value!r}.")
    if kind != SECONDS and amount % 1 != 0:
        raise ConfigError(f"{rule}, but got {value!r}: {amount:g} is no whole number.")
    return Duration(amount if kind == SECONDS else int(amount), kind)
