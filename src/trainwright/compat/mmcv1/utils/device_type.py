"""Which kinds of devices there are. IPUs, MLUs and NPUs are none that Trainwright knows."""

from __future__ import annotations

import torch


def is_ipu_available() -> bool:
    return False


def is_mlu_available() -> bool:
    return False


def is_mps_available() -> bool:
    return bool(torch.backends.mps.is_available())


def is_npu_available() -> bool:
    return False


IS_IPU_AVAILABLE = is_ipu_available()
IS_MLU_AVAILABLE = is_mlu_available()
IS_MPS_AVAILABLE = is_mps_available()
IS_NPU_AVAILABLE = is_npu_available()
