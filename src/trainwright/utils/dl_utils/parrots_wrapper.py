"""torch's classes and build under the names that MMEngine gives them."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import SyncBatchNorm
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd
from torch.utils.data import DataLoader

TORCH_VERSION: str = torch.__version__
PoolDataLoader = DataLoader
SyncBatchNorm_ = SyncBatchNorm
_ConvTransposeMixin = _ConvTransposeNd
_EXTENSIONS = ("BuildExtension", "CppExtension", "CUDAExtension")

__all__ = [
    "TORCH_VERSION",
    "DataLoader",
    "PoolDataLoader",
    "SyncBatchNorm",
    "_AdaptiveAvgPoolNd",
    "_AdaptiveMaxPoolNd",
    "_AvgPoolNd",
    "_BatchNorm",
    "_ConvNd",
    "_ConvTransposeMixin",
    "_InstanceNorm",
    "_MaxPoolNd",
    "_get_cuda_home",
    "get_build_config",
    "is_rocm_pytorch",
]


def is_rocm_pytorch() -> bool:
    return torch.version.hip is not None


def _get_cuda_home() -> str | None:
    from torch.utils import cpp_extension  # it looks for compilers, which few need

    home: str | None = cpp_extension.ROCM_HOME if is_rocm_pytorch() else cpp_extension.CUDA_HOME
    return home


def get_build_config() -> str:
    return torch.__config__.show()


def _get_conv() -> tuple[type, type]:
    return _ConvNd, _ConvTransposeMixin


def _get_dataloader() -> tuple[type, type]:
    return DataLoader, PoolDataLoader


def _get_extension() -> tuple[Any, ...]:
    return tuple(__getattr__(name) for name in _EXTENSIONS)


def _get_norm() -> tuple[type, type, type]:
    return _BatchNorm, _InstanceNorm, SyncBatchNorm


def _get_pool() -> tuple[type, type, type, type]:
    return _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd


def __getattr__(name: str) -> Any:
    if name not in _EXTENSIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from torch.utils import cpp_extension

    return getattr(cpp_extension, name)
