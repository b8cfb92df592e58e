"""mmengine.utils.dl_utils."""

import importlib.util
import os
import re
import sys
import warnings
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import multiprocessing, nn

pytestmark = pytest.mark.usefixtures("mmengine")


def test_facts_of_the_machine():
    import mmengine
    from mmengine.utils.dl_utils import collect_env

    facts = collect_env()
    names = (
        "sys.platform",
        "Python",
        "CUDA available",
        "MUSA available",
        "GCC",
        "PyTorch",
        "PyTorch compiling details",
    )
    for name in (*names, "OpenCV", "MMEngine", "numpy_random_seed"):
        assert name in facts
    assert facts["sys.platform"] == sys.platform
    assert facts["Python"] == sys.version.replace("\n", "")
    assert facts["PyTorch"] == torch.__version__
    assert facts["MMEngine"] == mmengine.__version__ == "0.10.7"
    if facts["CUDA available"]:
        assert {"CUDA_HOME", "NVCC"} <= set(facts)


def test_the_function_and_the_module_collect_env():
    import mmengine.utils.dl_utils.collect_env
    from mmengine.utils.dl_utils import collect_env
    from mmengine.utils.dl_utils.collect_env import collect_env as same

    assert collect_env is same
    assert callable(mmengine.utils.dl_utils.collect_env)


def test_weights_by_url(tmp_path):
    from mmengine.utils.dl_utils import load_url

    torch.save({"w": torch.ones(2)}, tmp_path / "new.pth")
    torch.save({"w": torch.zeros(2)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    folder = tmp_path / "kept"
    for name, value in (("new", 1), ("old", 0)):
        for _ in range(2):
            url = (tmp_path / f"{name}.pth").as_uri()
            found = load_url(url, str(folder), map_location="cpu", progress=False)
            assert found.get("state_dict", found)["w"].tolist() == [value] * 2
    assert sorted(path.name for path in folder.iterdir()) == ["new.pth", "old.pth"]


def test_norms():
    from mmengine.utils.dl_utils.misc import has_batch_norm, is_norm
    from mmengine.utils.dl_utils.parrots_wrapper import SyncBatchNorm, _BatchNorm, _ConvNd, _InstanceNorm

    norms = [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm2d, nn.SyncBatchNorm, SyncBatchNorm]
    for kind in norms:
        assert is_norm(kind(3))
        assert not is_norm(kind(3), exclude=(kind,))
        assert not is_norm(kind(3), exclude=kind)
    assert is_norm(nn.LayerNorm(3))
    assert is_norm(nn.GroupNorm(1, 3))
    assert not is_norm(nn.Conv2d(3, 1, 1))
    assert is_norm(nn.BatchNorm2d(3), exclude=(nn.LayerNorm, nn.GroupNorm))
    for wrong in ("BN", ("BN",), 1):
        with pytest.raises(TypeError, match='"exclude" must be either None or type or a tuple of types'):
            is_norm(nn.BatchNorm2d(3), exclude=wrong)
    assert has_batch_norm(nn.BatchNorm1d(3))
    assert has_batch_norm(nn.Sequential(nn.Sequential(nn.BatchNorm1d(3))))
    assert not has_batch_norm(nn.Sequential(nn.LayerNorm(3)))
    assert issubclass(nn.BatchNorm2d, _BatchNorm)
    assert issubclass(nn.InstanceNorm1d, _InstanceNorm)
    assert issubclass(nn.Conv2d, _ConvNd)


def test_images_of_tensors():
    from mmengine.utils.dl_utils import tensor2imgs

    wrong = (
        ((np.random.rand(2, 3, 3),), {}),
        ((torch.randn(2, 3, 3),), {}),
        ((torch.randn(2, 4, 3, 3),), {}),
        ((torch.randn(2, 3, 5, 5),), {"mean": (1,)}),
        ((torch.randn(2, 3, 5, 5),), {"std": (1,)}),
        ((torch.randn(2, 1, 5, 5),), {"mean": (0,), "std": (1,), "to_bgr": True}),
    )
    for arguments, settings in wrong:
        with pytest.raises(AssertionError):
            tensor2imgs(*arguments, **settings)
    tensor = torch.randn(2, 3, 5, 5)
    for to_bgr, images in ((True, tensor.flip(1)), (False, tensor)):
        found = tensor2imgs(tensor, to_bgr=to_bgr)
        for image, expected in zip(found, images, strict=True):
            np.testing.assert_array_equal(image, expected.permute(1, 2, 0).numpy())
            assert image.flags.c_contiguous
    found = tensor2imgs(tensor, mean=(1, 2, 3), std=(4, 5, 6), to_bgr=False)
    expected = tensor[1].permute(1, 2, 0) * torch.tensor([4.0, 5, 6]) + torch.tensor([1.0, 2, 3])
    np.testing.assert_array_equal(found[1], expected.numpy())
    gray = torch.randn(2, 1, 5, 5)
    np.testing.assert_array_equal(tensor2imgs(gray, to_bgr=False)[0], gray[0].permute(1, 2, 0).numpy())


def test_mmcv_with_operators(monkeypatch):
    from mmengine.utils.dl_utils import mmcv_full_available

    monkeypatch.setitem(sys.modules, "mmcv", None)
    assert not mmcv_full_available()


@pytest.fixture
def processes(monkeypatch):
    """How processes start, and the environment, are as before afterwards. Gives the calls of a stand-in for cv2."""
    before = multiprocessing.get_start_method(allow_none=True)
    threads = []
    if importlib.util.find_spec("cv2") is None:
        cv2 = ModuleType("cv2")
        cv2.__spec__ = importlib.util.spec_from_loader("cv2", None)
        monkeypatch.setitem(sys.modules, "cv2", cv2)
    monkeypatch.setattr("cv2.setNumThreads", threads.append, raising=False)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "0")  # so that it is put back
        monkeypatch.delenv(name)
    yield threads
    multiprocessing.set_start_method(before, force=True)


def test_settings_of_processes(processes, monkeypatch):
    from mmengine.utils.dl_utils import set_multi_processing

    multiprocessing.set_start_method("fork", force=True)
    with pytest.warns(UserWarning, match="_NUM_THREADS"):
        set_multi_processing(distributed=True)
    assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
    assert multiprocessing.get_start_method() == "fork"
    assert processes == [0]
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name)
    set_multi_processing(distributed=False)
    assert "OMP_NUM_THREADS" not in os.environ
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "4"
    set_multi_processing(distributed=True)
    assert os.environ["OMP_NUM_THREADS"] == "4"
    with pytest.warns(UserWarning, match="spawn"):
        set_multi_processing(mp_start_method="spawn", opencv_num_threads=4, distributed=True)
    assert multiprocessing.get_start_method() == "spawn"
    assert processes[-1] == 4


def test_average_times(capsys):
    from mmengine.utils.dl_utils import TimeCounter

    with pytest.raises(AssertionError):
        TimeCounter(warmup_interval=0)

    @TimeCounter()
    def work():
        return "done"

    assert work() == "done"
    pattern = r"\[{}\]-time per run averaged in the past {} runs: \d+\.\d ms\n"
    assert re.fullmatch(pattern.format("work", 1), capsys.readouterr().out)

    @TimeCounter(log_interval=2, tag="mme_other")
    def other(): ...

    for _ in range(3):
        other()
    assert re.fullmatch(pattern.format("mme_other", 2), capsys.readouterr().out)
    with TimeCounter(tag="mme_block"):
        pass
    assert re.fullmatch(pattern.format("mme_block", 1), capsys.readouterr().out)
    with TimeCounter(log_interval=5, tag="mme_block"):
        pass
    assert re.fullmatch(pattern.format("mme_block", 2), capsys.readouterr().out)
    counter = TimeCounter(warmup_interval=3, tag="mme_warm")
    for seconds in (9, 9, 1, 2):
        with counter:
            pass
        counter._TimeCounter__pure_inf_time = 0 if seconds == 9 else seconds
    assert TimeCounter.instance_dict["mme_warm"] is counter
    assert counter._TimeCounter__count == 4
    assert "past 1 runs" not in capsys.readouterr().out
    with pytest.raises(AssertionError), TimeCounter():
        pass


def test_average_times_to_a_logger(capsys):
    from mmengine.logging import MMLogger
    from mmengine.utils.dl_utils import TimeCounter

    logger = MMLogger.get_instance("mme_time_counter")
    seen = []
    logger.addFilter(lambda record: seen.append(record.getMessage()))
    with TimeCounter(tag="mme_logged", logger=logger, with_sync=False):
        pass
    MMLogger._instance_dict.clear()
    assert len(seen) == 1
    assert seen[0].startswith("[mme_logged]-time per run averaged in the past 1 runs: ")


def test_grids():
    from mmengine.utils.dl_utils import torch_meshgrid

    x, y = torch.tensor([1, 2, 3]), torch.tensor([4, 5])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grid_x, grid_y = torch_meshgrid(x, y)
    assert grid_x.tolist() == [[1, 1], [2, 2], [3, 3]]
    assert grid_y.tolist() == [[4, 5], [4, 5], [4, 5]]


def test_tracing():
    from mmengine.utils.dl_utils.trace import is_jit_tracing

    def work(x):
        return x if is_jit_tracing() else x.tolist()

    x = torch.rand(3)
    assert isinstance(work(x), list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of tracing itself
        traced = torch.jit.trace(work, (torch.rand(1),))
    assert isinstance(traced(x), torch.Tensor)


def test_names_of_torch():
    from mmengine.utils.dl_utils import TORCH_VERSION
    from mmengine.utils.dl_utils import parrots_wrapper as names

    assert torch.__version__ == TORCH_VERSION
    assert not names.is_rocm_pytorch() or torch.version.hip
    assert names.get_build_config() == torch.__config__.show()
    assert issubclass(names.SyncBatchNorm, nn.SyncBatchNorm)
    assert names._get_norm()[:2] == (names._BatchNorm, names._InstanceNorm)
    assert names._get_conv() == (names._ConvNd, names._ConvTransposeMixin)
    assert names._get_dataloader()[0] is names.DataLoader
    assert len(names._get_pool()) == 4


def test_devices():
    import mmengine.device as device

    kinds = ("npu", "cuda", "mlu", "mps", "dipu", "musa")
    there = [kind for kind in kinds if getattr(device, f"is_{kind}_available")()]
    assert device.get_device() == (there[0] if there else "cpu")
    assert device.is_cuda_available() == torch.cuda.is_available()
    assert device.is_npu_support_full_precision() in (False, True)


def test_a_device_that_is_set(monkeypatch):
    import mmengine.device.utils
    from mmengine.device import get_device, is_npu_available

    assert get_device() == mmengine.device.utils.DEVICE
    monkeypatch.setattr("mmengine.device.utils.DEVICE", "cuda")
    monkeypatch.setattr("mmengine.device.utils.IS_NPU_AVAILABLE", True)
    assert get_device() == "cuda"
    assert is_npu_available()
