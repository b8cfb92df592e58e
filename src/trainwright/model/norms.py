"""Batch norms: of one process, of all processes, and back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainwright.base.errors import ConfigError, MissingExtraError
from trainwright.base.text import did_you_mean

_IMPLEMENTATIONS = ("torch", "mmcv")


class _BatchNormXd(_BatchNorm):
    """Batch norm over inputs of any number of dimensions: a SyncBatchNorm does not know how many they had."""

    def _check_input_dim(self, input: Tensor) -> None:
        return


def revert_sync_batchnorm(module: nn.Module) -> nn.Module:
    """`module` with a batch norm of one process in place of every SyncBatchNorm, torch's and mmcv's, with the same
    tensors. What is no such norm stays the same object, changed in place."""
    kinds: list[type] = [nn.SyncBatchNorm]
    if "mmcv.ops" in sys.modules:  # otherwise nothing can be an instance of its class
        kinds.append(sys.modules["mmcv.ops"].SyncBatchNorm)

    def convert(norm: nn.Module) -> nn.Module | None:
        return _like(norm, _BatchNormXd) if isinstance(norm, tuple(kinds)) else None

    return _replaced(module, convert, {})


def convert_sync_batchnorm(module: nn.Module, implementation: str = "torch") -> nn.Module:
    """`module` with a SyncBatchNorm, torch's or mmcv's, in place of every batch norm, with the same tensors."""
    if implementation not in _IMPLEMENTATIONS:
        raise ConfigError(
            f"sync_bn should be 'torch' or 'mmcv', got {implementation!r}."
            f"{did_you_mean(implementation, _IMPLEMENTATIONS)}"
        )
    kind = nn.SyncBatchNorm if implementation == "torch" else _mmcv_norm()

    def convert(norm: nn.Module) -> nn.Module | None:
        return _like(norm, kind) if isinstance(norm, _BatchNorm) and not isinstance(norm, kind) else None

    return _replaced(module, convert, {})


def _mmcv_norm() -> Any:
    try:
        return import_module("mmcv.ops").SyncBatchNorm
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "implementation='mmcv' needs the package mmcv with its compiled operators, which is not installed "
            "(mmcv-lite has none). implementation='torch' needs nothing more."
        ) from error


def _like(norm: Any, kind: Any) -> nn.Module:
    new: Any = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    if norm.affine:
        new.weight, new.bias = norm.weight, norm.bias
    new.running_mean, new.running_var = norm.running_mean, norm.running_var
    new.num_batches_tracked = norm.num_batches_tracked
    new.training = norm.training
    if hasattr(norm, "qconfig"):  # of a model that is being quantised
        new.qconfig = norm.qconfig
    return new  # type: ignore[no-any-return]


def _replaced(
    module: nn.Module, convert: Callable[[nn.Module], nn.Module | None], done: dict[nn.Module, nn.Module]
) -> nn.Module:
    """A module that is in several places is one module afterwards too."""
    if module not in done:
        new = convert(module)
        done[module] = module if new is None else new
        for name, child in list(module._modules.items()):
            if child is not None:
                converted = _replaced(child, convert, done)
                if converted is not child:
                    done[module].add_module(name, converted)
    return done[module]
