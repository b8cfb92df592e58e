"""Starting a process group by launcher, and what is asked of it."""

import os
from unittest.mock import patch

import pytest
import torch
from torch import nn


@pytest.fixture
def started():
    """Nothing of it is real: a device, a group, SLURM's commands, and the environment."""
    with (
        patch.dict(os.environ),
        patch("torch.cuda.device_count", return_value=1),
        patch("torch.cuda.set_device") as set_device,
        patch("torch.distributed.init_process_group") as init,
        patch("subprocess.getoutput", return_value="127.0.0.1") as getoutput,
    ):
        for name in ("MASTER_PORT", "MASTER_ADDR", "RANK", "WORLD_SIZE", "LOCAL_RANK"):
            os.environ.pop(name, None)
        yield set_device, init, getoutput


def test_slurm(mmcv, started):
    set_device, init, getoutput = started
    os.environ.update(SLURM_PROCID="0", SLURM_NTASKS="1", SLURM_NODELIST="[0]")
    mmcv.runner.init_dist("slurm")
    assert os.environ["MASTER_PORT"].isdigit()
    assert (os.environ["MASTER_ADDR"], os.environ["WORLD_SIZE"], os.environ["RANK"]) == ("127.0.0.1", "1", "0")
    set_device.assert_called_with(0)
    getoutput.assert_called_with("scontrol show hostname [0] | head -n1")
    init.assert_called_with(backend="nccl")
    mmcv.runner.init_dist("slurm", port=29505)
    assert os.environ["MASTER_PORT"] == "29505"
    mmcv.runner.init_dist("slurm")  # as it is in the environment
    assert os.environ["MASTER_PORT"] == "29505"
    assert init.call_count == 3


def test_torchrun(mmcv, started):
    set_device, init, _ = started
    os.environ.update(RANK="3", LOCAL_RANK="3", WORLD_SIZE="4")
    mmcv.runner.init_dist("pytorch", backend="gloo", timeout=5)
    set_device.assert_called_with(0)
    init.assert_called_with(backend="gloo", timeout=5)


def test_mpi(mmcv, started):
    set_device, init, _ = started
    os.environ.update(OMPI_COMM_WORLD_LOCAL_RANK="0", OMPI_COMM_WORLD_SIZE="2", OMPI_COMM_WORLD_RANK="1")
    with pytest.raises(KeyError, match="MASTER_ADDR"):
        mmcv.runner.init_dist("mpi")
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    mmcv.runner.init_dist("mpi")
    assert (os.environ["RANK"], os.environ["WORLD_SIZE"], os.environ["MASTER_PORT"]) == ("1", "2", "29500")
    set_device.assert_called_with(0)
    init.assert_called_with(backend="nccl")


def test_launchers_that_there_are_not(mmcv, started):
    with pytest.raises(ValueError, match="launcher"):
        mmcv.runner.init_dist("invalid_launcher")


def test_one_process(mmcv):
    assert mmcv.runner.get_dist_info() == (0, 1)

    @mmcv.runner.master_only
    def speak(word):
        """It says something."""
        return word

    assert speak("hello") == "hello"
    assert speak.__name__ == "speak"
    with patch("mmcv.runner.dist_utils.get_dist_info", return_value=(1, 2)):
        assert speak("hello") is None


def test_reducing_alone_changes_nothing(mmcv):
    model = nn.BatchNorm1d(2)
    before = [p.detach().clone() for p in model.parameters()]
    model(torch.rand(3, 2)).sum().backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    mmcv.runner.allreduce_params(model.parameters())
    mmcv.runner.allreduce_grads(list(model.parameters()), coalesce=False)
    for p, value, gradient in zip(model.parameters(), before, gradients, strict=True):
        assert torch.equal(p, value)
        assert torch.equal(p.grad, gradient)
