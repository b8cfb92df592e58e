"""What accelerators can compute at most, by the figures their vendors publish."""

from __future__ import annotations

import re
from typing import NamedTuple

import torch


class Peak(NamedTuple):
    """Dense FLOP/s in 10^12, that is without structured sparsity: half precision with sums in single precision (bf16
    and fp16), TF32, or what single precision with lowered precision amounts to, and single precision itself."""

    half: float
    tf32: float
    single: float
    has_bf16: bool = True


# A name counts where it stands as a word of its own, and the longest one that does: 'RTX A4000' is no 'A40'.
PEAK_TFLOPS: dict[str, Peak] = {
    "GB200": Peak(2500, 1250, 80),
    "B200": Peak(2250, 1125, 75),
    "GH200": Peak(989.4, 494.7, 66.9),
    "H200": Peak(989.4, 494.7, 66.9),
    "H200 NVL": Peak(835.5, 417.5, 60),
    "H100": Peak(989.4, 494.7, 66.9),  # SXM
    "H100 NVL": Peak(835.5, 417.5, 60),
    "H100 PCIe": Peak(756, 378, 51.2),
    "A100": Peak(312, 156, 19.5),
    "A40": Peak(149.7, 74.8, 37.4),
    "A30": Peak(165, 82, 10.3),
    "A10": Peak(125, 62.5, 31.2),
    "A10G": Peak(70, 35, 35),
    "RTX A6000": Peak(154.8, 77.4, 38.7),
    "RTX 6000 Ada Generation": Peak(364.2, 182.1, 91.1),
    "L40S": Peak(362, 183, 91.6),
    "L40": Peak(181, 90.5, 90.5),
    "L4": Peak(121, 60, 30.3),
    "V100": Peak(125, 15.7, 15.7, has_bf16=False),  # SXM2
    "V100-PCIE": Peak(112, 14, 14, has_bf16=False),
    "V100S": Peak(130, 16.4, 16.4, has_bf16=False),
    "T4": Peak(65, 8.1, 8.1, has_bf16=False),
    "RTX 5090": Peak(209.5, 104.8, 104.8),
    "RTX 4090": Peak(165.2, 82.6, 82.6),
    "RTX 4090 D": Peak(147, 73.5, 73.5),
    "RTX 3090": Peak(71, 35.6, 35.6),
    "RTX 3090 Ti": Peak(80, 40, 40),
    "MI210": Peak(181, 45.3, 45.3),
    "MI250X": Peak(191.5, 47.9, 47.9),  # one of its two dies: each is a device of its own
    "MI300A": Peak(980.6, 490.3, 122.6),
    "MI300X": Peak(1307.4, 653.7, 163.4),
    "MI325X": Peak(1307.4, 653.7, 163.4),
}
_OTHERWISE = re.compile(r"\b(Laptop|Max-Q|MIG)\b")  # the same name, for a slower chip or a part of one


def peak_flops_of(device_name: str, dtype: torch.dtype) -> float | None:
    """Peak FLOP/s of a device in ``dtype`` as torch multiplies it now; None where that is not known."""
    known = [name for name in PEAK_TFLOPS if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", device_name)]
    if not known or _OTHERWISE.search(device_name):
        return None
    peak = PEAK_TFLOPS[max(known, key=len)]
    tflops: float | None = None
    if dtype is torch.float16 or (dtype is torch.bfloat16 and peak.has_bf16):
        tflops = peak.half
    elif dtype is torch.float32:
        tflops = peak.single if torch.get_float32_matmul_precision() == "highest" else peak.tf32
    return None if tflops is None else tflops * 1e12
