"""What became of the weights of a checkpoint: how much was loaded, what was not, and which renaming would help."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

_MAX_SHOWN = 8
_MAX_COMPARED = 400  # names of each side that are looked at for renamings
_MAX_RENAMES = 4


@dataclass
class LoadReport:
    """How the weights of a checkpoint fit a model. Names are the model's; ``renames`` are for ``revise_keys``."""

    model: str
    n_weights: int
    n_bytes: int
    loaded: list[str] = field(default_factory=list)
    n_bytes_loaded: int = 0
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    wrong_shape: list[str] = field(default_factory=list)
    casts: dict[tuple[torch.dtype, torch.dtype], list[str]] = field(default_factory=lambda: defaultdict(list))
    renames: list[tuple[str, str]] = field(default_factory=list)

    @property
    def share(self) -> float:
        """The loaded part of the model, by number of weights or by bytes, whichever is larger."""
        by_count = len(self.loaded) / self.n_weights if self.n_weights else 1.0
        return max(by_count, self.n_bytes_loaded / self.n_bytes if self.n_bytes else 1.0)

    @property
    def fits(self) -> bool:
        """Whether the names and shapes of the two are the same."""
        return not (self.missing or self.unexpected or self.wrong_shape)

    @property
    def loses_digits(self) -> bool:
        """Whether numbers were cast to a type that cannot hold all of theirs."""
        return any(not _holds(own, theirs) for theirs, own in self.casts)

    def head(self) -> str:
        """One line: how much."""
        by_count = len(self.loaded) / max(self.n_weights, 1)
        by_bytes = self.n_bytes_loaded / max(self.n_bytes, 1)
        return (
            f"{len(self.loaded)} of {self.n_weights} weights were loaded into {self.model} "
            f"({by_count:.1%} of them, {by_bytes:.1%} of the bytes)"
        )

    def problems(self) -> str:
        """What was not loaded, a line a kind; "" when all was."""
        parts = [
            ("missing in the checkpoint", grouped(self.missing)),
            ("not in the model", grouped(self.unexpected)),
            ("of another shape", shortened(self.wrong_shape)),
        ]
        lines = [f"  {title}: {text}" for title, text in parts if text]
        if self.renames:
            pairs = ", ".join(f'(r"{pattern}", "{text}")' for pattern, text in self.renames)
            lines.append(f"  names of equal shape would fit with revise_keys=[{pairs}]")
        return "\n".join(lines)

    def cast_text(self) -> str:
        """Which types were changed, of which weights; "" when none was."""
        named = (
            f"{len(names)} from {str(theirs)[6:]} to {str(own)[6:]} ({grouped(names)})"
            for (theirs, own), names in self.casts.items()
        )
        return f"weights were cast to the model's type: {', '.join(named)}" if self.casts else ""


def compare(model: str, own: Mapping[str, Any], state: Mapping[str, Any]) -> LoadReport:
    """How ``state`` fits a model with the weights ``own``. Nothing is loaded."""
    report = LoadReport(model, len(own), sum(map(_n_bytes, own.values())))
    report.unexpected = [name for name in state if name not in own]
    for name, value in own.items():
        if name not in state:
            report.missing.append(name)
        elif shape_of(state[name]) != shape_of(value):
            theirs, ours = shape_of(state[name]), shape_of(value)
            report.wrong_shape.append(f"{name}: {theirs} in the checkpoint, {ours} in the model")
        else:
            report.loaded.append(name)
            report.n_bytes_loaded += _n_bytes(value)
            if isinstance(value, torch.Tensor) and state[name].dtype != value.dtype:
                report.casts[state[name].dtype, value.dtype].append(name)
    if report.missing and report.unexpected:
        report.renames = renames(
            {name: shape_of(state[name]) for name in report.unexpected},
            {name: shape_of(own[name]) for name in report.missing},
        )
    return report


def shape_of(value: Any) -> tuple[int, ...] | str:
    """The shape of a tensor; what a module's get_extra_state() gave need not be one."""
    return tuple(value.shape) if isinstance(value, torch.Tensor) else "no tensor"


def grouped(names: list[str], n_shown: int = _MAX_SHOWN) -> str:
    """All names when they are few; else what they begin with, and how many do."""
    if len(names) <= n_shown:
        return ", ".join(names)
    for depth in (4, 3, 2, 1):
        groups = Counter(".".join(name.split(".")[:depth]) for name in names)
        if len(groups) <= n_shown:
            break
    largest = dict(groups.most_common(n_shown))
    shown = [_group(start, n, names) for start, n in groups.items() if start in largest]
    n_hidden = len(names) - sum(largest.values())
    return ", ".join(shown) + (f" and {n_hidden} more" if n_hidden else "")


def shortened(items: list[str], n_shown: int = _MAX_SHOWN) -> str:
    """The first ones, and how many more there are."""
    more = f" and {len(items) - n_shown} more" if len(items) > n_shown else ""
    return ", ".join(items[:n_shown]) + more


def renames(theirs: Mapping[str, Any], own: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(pattern, replacement) pairs that turn names of ``theirs`` into names of ``own`` with the same shape. Both map
    names to shapes; pairs are tried in the order of how many names they bring together."""
    by_end = defaultdict(list)
    for name in list(own)[:_MAX_COMPARED]:
        by_end[name.rpartition(".")[2], own[name]].append(name)
    votes: Counter[tuple[str, str]] = Counter()
    for name in list(theirs)[:_MAX_COMPARED]:
        rules = {rule for other in by_end[name.rpartition(".")[2], theirs[name]] if (rule := _rule(name, other))}
        votes.update(rules)
    left, wanted = dict(theirs), dict(own)
    found: list[tuple[str, str]] = []
    ranked = sorted(votes, key=lambda rule: (-votes[rule], len(rule[0]) + len(rule[1]), rule))
    for pattern, text in ranked[: 8 * _MAX_RENAMES]:
        fitting = _fitting(pattern, text, left, wanted)
        if fitting and len(found) < _MAX_RENAMES:
            found.append((pattern, text))
            for name, other in fitting.items():
                del left[name], wanted[other]
    return found


def _fitting(pattern: str, text: str, theirs: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, str]:
    renamed = {name: re.sub(pattern, text, name) for name in theirs}
    return {name: other for name, other in renamed.items() if name != other and own.get(other) == theirs[name]}


def _rule(name: str, other: str) -> tuple[str, str] | None:
    """The change of whole parts between two names that makes one the other."""
    one, two = name.split("."), other.split(".")
    n_end = _n_common(reversed(one), reversed(two))
    one, two = one[: len(one) - n_end], two[: len(two) - n_end]
    n_start = _n_common(one, two)
    one, two = one[n_start:], two[n_start:]
    if not n_start:
        start = re.escape(".".join(one)) + r"\." if one else ""
        return f"^{start}", f"{'.'.join(two)}." if two else ""
    if not one:  # a part that theirs does not have: where it goes shows nothing but its place
        return None
    middle = f".{'.'.join(two)}." if two else "."
    return rf"\.{re.escape('.'.join(one))}\.", middle


def _n_common(one: Iterable[str], two: Iterable[str]) -> int:
    n = 0
    for a, b in zip(one, two, strict=False):
        if a != b:
            break
        n += 1
    return n


def _group(start: str, n: int, names: list[str]) -> str:
    if n > 1:
        return f"{start}.* ({n})"
    return next(name for name in names if name == start or name.startswith(f"{start}."))


def _holds(own: torch.dtype, theirs: torch.dtype) -> bool:
    """Whether one type has all numbers of another."""
    if theirs.is_floating_point and theirs.itemsize == 1:  # torch says nothing of types of 8 bits
        return own.is_floating_point and own.itemsize > 1
    if own.is_floating_point and own.itemsize == 1:
        return False
    return torch.promote_types(theirs, own) == own


def _n_bytes(value: Any) -> int:
    return value.numel() * value.element_size() if isinstance(value, torch.Tensor) else 0
