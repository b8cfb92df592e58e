"""Mixed precision in a block of the user's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainwright.base.errors import ConfigError, demand
from trainwright.device import get_device, is_cuda_available, is_mlu_available, is_npu_available

__all__ = ["autocast", "get_device", "is_cuda_available", "is_mlu_available", "is_npu_available"]


@contextmanager
def autocast(
    device_type: str | None = None,
    dtype: torch.dtype | None = None,
    enabled: bool = True,
    cache_enabled: bool | None = None,
) -> Iterator[None]:
    """``torch.autocast`` on the device that there is, in the type that suits it: float16 on a GPU, bfloat16 on a CPU.

    On devices that compute in one precision alone, such as Apple's, only ``enabled=False`` is allowed, and does
    nothing (API of mmengine.runner.autocast).
    """
    kind = get_device() if device_type is None else device_type
    if kind == "cuda":
        dtype = torch.get_autocast_dtype("cuda") if dtype is None else dtype
        if dtype == torch.bfloat16 and not torch.cuda.is_bf16_supported():
            raise ConfigError("this GPU does not compute in bfloat16: use dtype=torch.float16.")
    elif kind == "cpu":
        dtype = torch.bfloat16 if dtype is None else dtype
        demand(dtype == torch.bfloat16, f"autocast on a CPU has dtype=torch.bfloat16 alone, got {dtype}")
    elif kind not in ("mlu", "npu", "musa"):
        if enabled:
            raise ConfigError(
                f"User specified autocast device_type must be cuda or cpu, but got {kind}: leave mixed precision out, "
                "or say enabled=False"
            )
        yield
        return
    if cache_enabled is None:
        cache_enabled = torch.is_autocast_cache_enabled()
    with torch.autocast(device_type=kind, enabled=enabled, dtype=dtype, cache_enabled=cache_enabled):
        yield
