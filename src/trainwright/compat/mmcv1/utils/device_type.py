"""Which kinds of devices there are. An IPU is none that Trainwright knows."""

from __future__ import annotations

from trainwright.device import is_mlu_available, is_mps_available, is_npu_available


def is_ipu_available() -> bool:
    return False


IS_IPU_AVAILABLE = is_ipu_available()
IS_MLU_AVAILABLE = is_mlu_available()
IS_MPS_AVAILABLE = is_mps_available()
IS_NPU_AVAILABLE = is_npu_available()
