"""Comparisons for tests. As in MMEngine, only `assert_allclose` raises; the others answer True or False."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from runpy import run_path
from shlex import split
from typing import Any
from unittest import mock

import torch
from torch import nn

from trainwright.utils.dl_utils.misc import is_norm

# (rtol, atol) by type; other types must be equal.
_TOLERANCES = {torch.float16: (1e-3, 1e-3), torch.float32: (1e-4, 1e-5), torch.float64: (1e-5, 1e-8)}


def assert_allclose(
    actual: Any,
    expected: Any,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = True,
    msg: str | Callable[[str], str] | None = "",
) -> None:
    """Raise AssertionError if two tensors, or what becomes one, differ in shape, in device or by more than a tolerance.

    Either both tolerances are given or neither; those by default are wider than `torch.testing.assert_close` has, and
    the wider of the two sides' types counts. Types need not be the same.
    """
    one = actual if isinstance(actual, torch.Tensor) else torch.tensor(actual)
    other = expected if isinstance(expected, torch.Tensor) else torch.tensor(expected, dtype=one.dtype)
    if rtol is None and atol is None:
        of_types = [_TOLERANCES.get(side.dtype, (0.0, 0.0)) for side in (one, other)]
        rtol, atol = (max(pair) for pair in zip(*of_types, strict=True))
    torch.testing.assert_close(
        one, other, rtol=rtol, atol=atol, equal_nan=equal_nan, check_dtype=False, check_stride=False, msg=msg or None
    )


def check_python_script(cmd: str) -> None:
    """Run a script in this process, as ``python script.py argument`` or without the first word would."""
    words = split(cmd)
    script, *arguments = words[words[0] == "python" :]
    with mock.patch.object(sys, "argv", [script, *arguments]):
        run_path(script, run_name="__main__")


def assert_dict_contains_subset(dict_obj: Mapping[Any, Any], expected_subset: Mapping[Any, Any]) -> bool:
    """Whether the one has every key of the other, with the same value. Arrays and tensors are the same by elements."""
    return all(key in dict_obj and not _differ(dict_obj[key], value) for key, value in expected_subset.items())


def assert_attrs_equal(obj: Any, expected_attrs: Mapping[str, Any]) -> bool:
    """Whether an object has these attributes with these values."""
    return all(hasattr(obj, name) and not _differ(getattr(obj, name), value) for name, value in expected_attrs.items())


def assert_dict_has_keys(obj: Mapping[str, Any], expected_keys: Iterable[str]) -> bool:
    """Whether a dict has all these keys."""
    return set(expected_keys) <= set(obj)


def assert_keys_equal(result_keys: Iterable[str], target_keys: Iterable[str]) -> bool:
    """Whether two sides have the same keys, in any order."""
    return set(result_keys) == set(target_keys)


def assert_is_norm_layer(module: object) -> bool:
    """Whether it is a batch, instance, group or layer norm."""
    return isinstance(module, nn.Module) and is_norm(module)


def assert_params_all_zeros(module: nn.Module) -> bool:
    """Whether the weight of a layer, and its bias if it has one, are zeros up to 1e-8."""
    params = (module.weight, getattr(module, "bias", None))
    return all(bool((param.detach().abs() <= 1e-8).all()) for param in params if isinstance(param, torch.Tensor))


def _differ(one: Any, other: Any) -> bool:
    shapes = [tuple(side.shape) for side in (one, other) if hasattr(side, "shape")]
    if len(shapes) == 2 and not _can_be_compared(*shapes):
        return True
    found = one != other
    return bool(found.any() if hasattr(found, "any") else found)


def _can_be_compared(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return all(a == b or 1 in (a, b) for a, b in zip(reversed(one), reversed(other), strict=False))
