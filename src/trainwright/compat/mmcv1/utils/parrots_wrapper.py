"""torch's classes under the names that mmcv.utils gives them."""

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
_ConvTransposeMixin = _ConvTransposeNd
_EXTENSIONS = ("BuildExtension", "CppExtension", "CUDAExtension")

__all__ = [
    "IS_CUDA_AVAILABLE",
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
    "is_cuda_available",
    "is_rocm_pytorch",
]


def is_cuda_available() -> bool:
    return torch.cuda.is_available()


IS_CUDA_AVAILABLE = is_cuda_available()


def is_rocm_pytorch() -> bool:
    return torch.version.hip is not None


def _get_cuda_home() -> str | None:
    from torch.utils import cpp_extension  # it looks for compilers, which few need

    home: str | None = cpp_extension.ROCM_HOME if is_rocm_pytorch() else cpp_extension.CUDA_HOME
    return home


def get_build_config() -> str:
    return torch.__config__.show()


def __getattr__(name: str) -> Any:
    if name not in _EXTENSIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from torch.utils import cpp_extension

    return getattr(cpp_extension, name)
