import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from trainwright.base.errors import ConfigTypeError, RuleError
from trainwright.base.version import __version__
from trainwright.utils.dl_utils import collect_env as env_module
from trainwright.utils.dl_utils import parrots_wrapper
from trainwright.utils.dl_utils.collect_env import collect_env
from trainwright.utils.dl_utils.misc import is_norm, mmcv_full_available, tensor2imgs
from trainwright.utils.dl_utils.setup_env import set_multi_processing
from trainwright.utils.dl_utils.time_counter import TimeCounter


def test_facts_of_gpus(monkeypatch):
    cuda = SimpleNamespace(device_count=lambda: 3, get_device_name=lambda index: "AAB"[index])
    monkeypatch.setattr(env_module, "is_cuda_available", lambda: True)
    monkeypatch.setattr(torch, "cuda", cuda)
    monkeypatch.setattr(env_module, "_get_cuda_home", lambda: "/no/cuda")
    facts = collect_env()
    assert facts["GPU 0,1"] == "A"
    assert facts["GPU 2"] == "B"
    assert (facts["CUDA_HOME"], facts["NVCC"]) == ("/no/cuda", "n/a")
    monkeypatch.setattr(env_module, "_get_cuda_home", lambda: None)
    assert collect_env()["CUDA_HOME"] is None


def test_facts_of_musa(monkeypatch):
    monkeypatch.setattr(env_module, "is_musa_available", lambda: True)
    monkeypatch.setattr(env_module, "is_cuda_available", lambda: False)
    musa = SimpleNamespace(device_count=lambda: 1, get_device_name=lambda index: "M")
    monkeypatch.setattr(torch, "musa", musa, raising=False)
    monkeypatch.setenv("MUSA_HOME", "/no/musa")
    facts = collect_env()
    assert (facts["MUSA available"], facts["GPU 0"]) == (True, "M")
    assert (facts["MUSA_HOME"], facts["mcc"]) == ("/no/musa", "n/a")


def test_versions_among_the_facts(monkeypatch):
    has = {"opencv-python-headless": "4.9", "mmengine": "0.9"}
    monkeypatch.setattr(env_module, "_version_of", has.get)
    monkeypatch.delitem(sys.modules, "mmengine", raising=False)
    facts = collect_env()
    assert (facts["OpenCV"], facts["MMEngine"], facts["Trainwright"]) == ("4.9", "0.9", __version__)
    assert "TorchVision" not in facts
    has.clear()
    facts = collect_env()
    assert facts["OpenCV"] == "n/a"
    assert "MMEngine" not in facts


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: is_norm(nn.Linear(1, 1), exclude="BN"), ConfigTypeError, "but got 'BN'"),
        (lambda: tensor2imgs(torch.ones(3)), RuleError, r"must be a torch.Tensor of shape \(N, C, H, W\)"),
        (lambda: tensor2imgs(torch.ones(1, 2, 3, 4)), RuleError, r"1 or 3 channels, but its shape is \(1, 2, 3, 4\)"),
        (
            lambda: tensor2imgs(torch.ones(1, 3, 2, 2), mean=(1,)),
            RuleError,
            r"a number for each of the 3 channels, but got \(1,\) and \(1, 1, 1\)",
        ),
        (lambda: tensor2imgs(torch.ones(1, 1, 2, 2)), RuleError, "to_bgr must be False with 1 channel"),
        (lambda: TimeCounter(warmup_interval=0), RuleError, "warmup_interval must be 1 or more, but got 0"),
        (lambda: TimeCounter().__enter__(), RuleError, "needs a tag to name the block"),
        (lambda: parrots_wrapper.NoExtension, AttributeError, "has no attribute 'NoExtension'"),
    ],
)
def test_messages(call, kind, text):
    with pytest.raises(kind, match=text):
        call()


def test_images_have_no_graph():
    assert tensor2imgs(torch.ones(1, 3, 2, 2, requires_grad=True))[0].tolist() == [[[1.0] * 3] * 2] * 2


def test_other_ranks_have_their_function_as_it_is(monkeypatch, capsys):
    monkeypatch.setattr("trainwright.utils.dl_utils.time_counter.is_main_process", lambda: False)

    def work():
        return 1

    assert TimeCounter()(work) is work
    with TimeCounter(tag="test_dl_utils_other_rank"):
        pass
    assert capsys.readouterr().out == ""


def test_the_average_begins_with_the_warmup_interval(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("trainwright.utils.dl_utils.time_counter.time.perf_counter", lambda: now[0])
    for seconds in (9, 9, 1, 2):
        with TimeCounter(warmup_interval=3, tag="test_dl_utils_warm"):
            now[0] += seconds
    assert capsys.readouterr().out == (
        "[test_dl_utils_warm]-time per run averaged in the past 3 runs: 1000.0 ms\n"
        "[test_dl_utils_warm]-time per run averaged in the past 4 runs: 1500.0 ms\n"
    )


def test_the_clock_is_read_when_the_gpu_is_done(monkeypatch):
    waits = []
    module = "trainwright.utils.dl_utils.time_counter"
    monkeypatch.setattr(f"{module}.is_cuda_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waits.append("cuda"))
    with TimeCounter(tag="test_dl_utils_cuda"):
        pass
    monkeypatch.setattr(f"{module}.is_cuda_available", lambda: False)
    monkeypatch.setattr(f"{module}.is_musa_available", lambda: True)
    monkeypatch.setattr(torch, "musa", SimpleNamespace(synchronize=lambda: waits.append("musa")), raising=False)
    with TimeCounter(tag="test_dl_utils_musa"):
        pass
    with TimeCounter(tag="test_dl_utils_none", with_sync=False):
        pass
    assert waits == ["cuda", "cuda", "musa", "musa"]


def test_the_start_method_that_is_there_already():
    method = torch.multiprocessing.get_start_method()
    set_multi_processing(method)
    assert torch.multiprocessing.get_start_method() == method


def test_an_mmcv_that_cannot_be_imported(monkeypatch, tmp_path):
    (tmp_path / "mmcv").mkdir()
    (tmp_path / "mmcv" / "__init__.py").write_text("raise ImportError('built for another torch')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "mmcv"]:
        monkeypatch.delitem(sys.modules, name)
    assert not mmcv_full_available()
    (tmp_path / "mmcv" / "__init__.py").write_text("")
    (tmp_path / "mmcv" / "_ext.py").write_text("")
    try:
        assert mmcv_full_available()
    finally:
        del sys.modules["mmcv"]


def test_rocm_is_a_build(monkeypatch):
    assert parrots_wrapper.is_rocm_pytorch() == (torch.version.hip is not None)
    monkeypatch.setattr(torch.version, "hip", "6.0")
    assert parrots_wrapper.is_rocm_pytorch()
    assert len(parrots_wrapper._get_extension()) == 3
