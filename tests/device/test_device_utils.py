import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from trainwright import device
from trainwright.device import utils


@pytest.fixture
def fresh(monkeypatch):
    """What was found before is looked for again, and forgotten afterwards."""

    def forget():
        for find in utils._FINDERS.values():
            getattr(find, "cache_clear", lambda: None)()

    forget()
    yield monkeypatch
    forget()


def put_package(monkeypatch, name, **names):
    module = ModuleType(name)
    module.__spec__ = SimpleNamespace(origin="here")
    vars(module).update(names)
    monkeypatch.setitem(sys.modules, name, module)


def test_a_machine_with_nothing(fresh):
    fresh.setattr(torch.cuda, "is_available", lambda: False)
    fresh.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device.get_device() == "cpu"
    assert not device.is_npu_support_full_precision()
    assert utils.DEVICE == "cpu"


def test_the_order_of_devices(fresh):
    """Each goes before those that came before it."""
    fresh.setattr(torch.cuda, "is_available", lambda: False)
    fresh.setattr(torch.backends.mps, "is_available", lambda: False)
    put_package(fresh, "torch_musa")
    assert device.get_device() == "musa"
    put_package(fresh, "torch_dipu")
    utils._FINDERS["IS_DIPU_AVAILABLE"].cache_clear()
    assert device.get_device() == "dipu"
    fresh.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device.get_device() == "mps"
    put_package(fresh, "torch_mlu")
    fresh.setattr(torch, "mlu", SimpleNamespace(is_available=lambda: True), raising=False)
    utils._FINDERS["IS_MLU_AVAILABLE"].cache_clear()
    assert device.get_device() == "mlu"
    fresh.setattr(torch.cuda, "is_available", lambda: True)
    assert device.get_device() == "cuda"
    modes = []
    npu = SimpleNamespace(is_available=lambda: True, set_compile_mode=lambda jit_compile: modes.append(jit_compile))
    put_package(fresh, "torch_npu")
    fresh.setattr(torch, "npu", npu, raising=False)
    utils._FINDERS["IS_NPU_AVAILABLE"].cache_clear()
    assert device.get_device() == "npu"
    assert utils.IS_NPU_AVAILABLE
    assert modes == [False]
    assert [kind for kind in ("npu", "mlu", "dipu", "musa") if getattr(device, f"is_{kind}_available")()] == [
        *("npu", "mlu", "dipu", "musa")
    ]


@pytest.mark.parametrize(("version", "can"), [(220, True), (219, False)])
def test_full_precision_of_an_npu(fresh, version, can):
    fresh.setattr(utils, "IS_NPU_AVAILABLE", True, raising=False)
    for name in ("torch_npu", "torch_npu.npu"):
        put_package(fresh, name, __path__=[])
    put_package(fresh, "torch_npu.npu.utils", get_soc_version=lambda: version)
    assert device.is_npu_support_full_precision() is can


def test_a_package_without_its_driver(fresh, tmp_path):
    (tmp_path / "torch_musa.py").write_text("raise OSError('libmusa.so: cannot open shared object file')\n")
    fresh.syspath_prepend(tmp_path)
    assert not device.is_musa_available()


def test_the_most_memory_in_mebibytes(monkeypatch):
    resets = []
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 5 * 1024 * 1024 + 7)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", resets.append)
    assert device.get_max_cuda_memory("cuda:1") == 5
    assert resets == ["cuda:1"]
    musa = SimpleNamespace(max_memory_allocated=lambda device: 3 * 1024 * 1024)
    monkeypatch.setattr(torch, "musa", musa, raising=False)
    assert device.get_max_musa_memory() == 3


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="has no attribute 'IS_TPU_AVAILABLE'"):
        _ = utils.IS_TPU_AVAILABLE
