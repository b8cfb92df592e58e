"""Peaks by device name: the vendors' dense figures, and the names that only look alike."""

import pytest
import torch

from trainwright.hooks.peak_flops import PEAK_TFLOPS, peak_flops_of

# Name as torch.cuda.get_device_name() gives it, then half precision, TF32 and single precision in TFLOP/s.
DEVICES = [
    ("NVIDIA A100-SXM4-80GB", 312, 156, 19.5),
    ("NVIDIA A100 80GB PCIe", 312, 156, 19.5),
    ("NVIDIA H100 80GB HBM3", 989.4, 494.7, 66.9),
    ("NVIDIA H100 PCIe", 756, 378, 51.2),
    ("NVIDIA H100 NVL", 835.5, 417.5, 60),
    ("NVIDIA H200", 989.4, 494.7, 66.9),
    ("NVIDIA H200 NVL", 835.5, 417.5, 60),
    ("NVIDIA GH200 480GB", 989.4, 494.7, 66.9),
    ("NVIDIA B200", 2250, 1125, 75),
    ("NVIDIA GB200", 2500, 1250, 80),
    ("Tesla V100-SXM2-16GB", 125, 15.7, 15.7),
    ("Tesla V100-PCIE-32GB", 112, 14, 14),
    ("Tesla V100S-PCIE-32GB", 130, 16.4, 16.4),
    ("Tesla T4", 65, 8.1, 8.1),
    ("NVIDIA A10", 125, 62.5, 31.2),
    ("NVIDIA A10G", 70, 35, 35),
    ("NVIDIA A30", 165, 82, 10.3),
    ("NVIDIA A40", 149.7, 74.8, 37.4),
    ("NVIDIA L4", 121, 60, 30.3),
    ("NVIDIA L40", 181, 90.5, 90.5),
    ("NVIDIA L40S", 362, 183, 91.6),
    ("NVIDIA RTX A6000", 154.8, 77.4, 38.7),
    ("NVIDIA RTX 6000 Ada Generation", 364.2, 182.1, 91.1),
    ("NVIDIA GeForce RTX 5090", 209.5, 104.8, 104.8),
    ("NVIDIA GeForce RTX 4090", 165.2, 82.6, 82.6),
    ("NVIDIA GeForce RTX 4090 D", 147, 73.5, 73.5),
    ("NVIDIA GeForce RTX 3090", 71, 35.6, 35.6),
    ("NVIDIA GeForce RTX 3090 Ti", 80, 40, 40),
    ("AMD Instinct MI210", 181, 45.3, 45.3),
    ("AMD Instinct MI250X", 191.5, 47.9, 47.9),
    ("AMD Instinct MI300A", 980.6, 490.3, 122.6),
    ("AMD Instinct MI300X", 1307.4, 653.7, 163.4),
    ("AMD Instinct MI325X", 1307.4, 653.7, 163.4),
]


@pytest.fixture(autouse=True)
def precision():
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(("name", "half", "tf32", "single"), DEVICES, ids=[name for name, *_ in DEVICES])
def test_devices(name, half, tf32, single):
    assert peak_flops_of(name, torch.float16) == half * 1e12
    torch.set_float32_matmul_precision("highest")
    assert peak_flops_of(name, torch.float32) == single * 1e12
    for lower in ("high", "medium"):
        torch.set_float32_matmul_precision(lower)
        assert peak_flops_of(name, torch.float32) == tf32 * 1e12


def test_every_row_is_tested():
    rows = {(peak.half, peak.tf32, peak.single) for peak in PEAK_TFLOPS.values()}
    assert rows == {tuple(numbers) for _, *numbers in DEVICES}
    assert len(DEVICES) == len(PEAK_TFLOPS) + 1  # the A100 of two forms


@pytest.mark.parametrize("name", ["Tesla V100-SXM2-16GB", "Tesla V100-PCIE-32GB", "Tesla V100S-PCIE-32GB", "Tesla T4"])
def test_bf16_needs_units_for_it(name):
    assert peak_flops_of(name, torch.bfloat16) is None


def test_bf16_is_as_fast_as_fp16_elsewhere():
    for name in ("NVIDIA H200", "NVIDIA A100-SXM4-40GB", "AMD Instinct MI300X"):
        assert peak_flops_of(name, torch.bfloat16) == peak_flops_of(name, torch.float16)


@pytest.mark.parametrize(
    "name",
    [
        "some device",
        "NVIDIA RTX A4000",  # no A40
        "NVIDIA RTX A1000",  # no A100
        "NVIDIA T400",
        "NVIDIA H20",
        "NVIDIA A100X",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "",
    ],
)
def test_names_that_only_look_alike(name):
    assert peak_flops_of(name, torch.float16) is None


def test_other_types():
    assert peak_flops_of("NVIDIA H200", torch.float64) is None
    assert peak_flops_of("NVIDIA H200", torch.int8) is None
