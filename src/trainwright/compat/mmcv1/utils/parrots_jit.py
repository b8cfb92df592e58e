"""Decorators that do nothing with PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def jit(
    func: Callable[..., Any] | None = None,
    check_input: Any = None,
    full_shape: bool = True,
    derivate: bool = False,
    coderize: bool = False,
    optimize: bool = False,
) -> Any:
    """The function as it is."""
    return _same if func is None else func


def skip_no_elena(func: Callable[..., Any]) -> Callable[..., Any]:
    return func


def _same(func: Callable[..., Any]) -> Callable[..., Any]:
    return func
