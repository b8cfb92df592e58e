"""Checks for tests."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from runpy import run_path
from typing import Any
from unittest.mock import patch


def check_python_script(cmd: str) -> None:
    """Run 'python SCRIPT ARGS', or 'SCRIPT ARGS', in this process."""
    words = shlex.split(cmd)
    script, *arguments = words[words[0] == "python" :]
    with patch.object(sys, "argv", [script, *arguments]):
        run_path(script, run_name="__main__")


def assert_dict_contains_subset(dict_obj: dict[Any, Any], expected_subset: dict[Any, Any]) -> bool:
    return all(key in dict_obj and not _any(dict_obj[key] != value) for key, value in expected_subset.items())


def assert_attrs_equal(obj: Any, expected_attrs: dict[str, Any]) -> bool:
    return all(hasattr(obj, name) and not _any(getattr(obj, name) != value) for name, value in expected_attrs.items())


def assert_dict_has_keys(obj: dict[str, Any], expected_keys: Iterable[str]) -> bool:
    return set(expected_keys) <= set(obj)


def assert_keys_equal(result_keys: Iterable[str], target_keys: Iterable[str]) -> bool:
    return set(result_keys) == set(target_keys)


def assert_is_norm_layer(module: Any) -> bool:
    from trainwright.utils.dl_utils.misc import is_norm

    return is_norm(module)


def assert_params_all_zeros(module: Any) -> bool:
    """Whether weight and bias are zeros."""
    tensors = [module.weight.data, *([module.bias.data] if getattr(module, "bias", None) is not None else [])]
    return all(bool(tensor.eq(0).all()) for tensor in tensors)


def _any(found: Any) -> bool:
    """`any` of what may be nested, or a single truth value, an array or a tensor."""
    if not isinstance(found, Iterable):
        return bool(found)
    try:
        return any(_any(item) for item in found)
    except TypeError:  # a tensor without dimensions
        return bool(found)
