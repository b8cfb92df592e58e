"""Where two checkpoints differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from trainwright.checkpoint.leaves import in_words, leaves

RESULTS = ("equal", "only in A", "only in B", "other shape", "other type", "other value")


@dataclass
class Difference:
    """One place that differs: what kind of difference, both sides in words, the largest difference of numbers."""

    place: str
    kind: str
    a: str = ""
    b: str = ""
    largest: float | None = None


@dataclass
class Comparison:
    """``first`` is the first place, in A's order, that differs; ``differences`` are all of them."""

    n_equal: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def first(self) -> Difference | None:
        return self.differences[0] if self.differences else None

    @property
    def largest(self) -> float:
        """The largest difference between two numbers of tensors."""
        return max((d.largest for d in self.differences if d.largest is not None), default=0.0)


def compared(a: Any, b: Any) -> Comparison:
    """All places of two trees side by side. Tensors are equal bit for bit, with NaN equal to itself."""
    one = {leaf.place: leaf.value for leaf in leaves(a)}
    two = {leaf.place: leaf.value for leaf in leaves(b)}
    result = Comparison()
    for place, value in one.items():
        found = (
            _difference(place, value, two[place]) if place in two else Difference(place, "only in A", in_words(value))
        )
        if found is None:
            result.n_equal += 1
        else:
            result.differences.append(found)
    result.differences += [
        Difference(place, "only in B", "", in_words(value)) for place, value in two.items() if place not in one
    ]
    return result


def counted(comparison: Comparison) -> Mapping[str, int]:
    """How many places have each of :data:`RESULTS`."""
    counts = dict.fromkeys(RESULTS, 0)
    counts["equal"] = comparison.n_equal
    for difference in comparison.differences:
        counts[difference.kind] += 1
    return counts


def _difference(place: str, a: Any, b: Any) -> Difference | None:
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        if isinstance(a, Tensor) or isinstance(b, Tensor) or type(a) is not type(b):
            return Difference(place, "other type", in_words(a), in_words(b))
        return None if a == b or (a != a and b != b) else Difference(place, "other value", in_words(a), in_words(b))
    if a.shape != b.shape:
        return Difference(place, "other shape", in_words(a), in_words(b))
    if a.dtype != b.dtype:
        return Difference(place, "other type", in_words(a), in_words(b), _largest(a, b))
    if _same_bits(a, b):
        return None
    return Difference(place, "other value", in_words(a), in_words(b), _largest(a, b))


def _same_bits(a: Tensor, b: Tensor) -> bool:
    if a.layout is not torch.strided or b.layout is not torch.strided:
        return a.layout is b.layout and bool(torch.equal(a.to_dense(), b.to_dense()))
    if torch.equal(a, b):
        return True
    if not (a.is_floating_point() or a.is_complex()):
        return False
    return bool(((a == b) | ((a != a) & (b != b))).all())


def _largest(a: Tensor, b: Tensor) -> float | None:
    if not a.numel():
        return 0.0
    wide = torch.complex128 if a.is_complex() or b.is_complex() else torch.float64
    gap = (a.to_dense().to(wide) - b.to_dense().to(wide)).abs()
    return float(gap.nan_to_num(nan=float("inf")).max())
