"""What several processes are and do by `mmcv.runner.dist_utils`; its calls by launcher are in the suite."""

import os
import subprocess
import sys
from unittest import mock

import pytest
import torch
from torch import nn

from trainwright.base.errors import ConfigError, TrainwrightError
from trainwright.compat.mmcv1.runner import dist_utils
from trainwright.testing.ranks import run_ranks


@pytest.fixture
def environment():
    with mock.patch.dict(os.environ), mock.patch("torch.distributed.init_process_group") as init:
        for name in ("MASTER_PORT", "MASTER_ADDR", "RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID"):
            os.environ.pop(name, None)
        yield init


def test_an_unknown_launcher_and_what_a_launcher_must_have_set(environment):
    with pytest.raises(ConfigError, match=r"Invalid launcher type: slurn; there are pytorch, .*Did you mean 'slurm'"):
        dist_utils.init_dist("slurn")
    for launcher, variable, who in (("pytorch", "RANK", "torchrun"), ("slurm", "SLURM_PROCID", "srun")):
        with pytest.raises(KeyError, match=f"variable {variable} is not set: it is set by {who}") as caught:
            dist_utils.init_dist(launcher)
        assert isinstance(caught.value, TrainwrightError)
    os.environ.update(SLURM_PROCID="0", SLURM_NODELIST="a; rm b")
    with pytest.raises(ConfigError, match="SLURM_NODELIST must be a list of machines, got 'a; rm b'"):
        dist_utils.init_dist("slurm")
    environment.assert_not_called()


def test_without_a_cuda_device_nccl_gives_way_to_gloo(environment):
    os.environ.update(SLURM_PROCID="1", SLURM_NTASKS="2", SLURM_NODELIST="n1", MASTER_ADDR="n0")
    with (
        mock.patch("torch.cuda.device_count", return_value=0),
        mock.patch("subprocess.getoutput") as asked,
    ):
        dist_utils.init_dist("slurm")
    asked.assert_not_called()
    environment.assert_called_once_with(backend="gloo")
    assert [os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")] == [
        "1",
        "2",
        "1",
        "29500",
    ]


def test_a_process_leaves_its_gloo_group_at_its_end(tmp_path):
    """Threads of gloo that are left abort the process now and then, and torchrun kills the others then."""
    script = tmp_path / "train.py"
    script.write_text(
        "import atexit\n"
        "import torch.distributed as dist\n"
        "from trainwright.compat.mmcv1.runner import init_dist\n"
        "atexit.register(lambda: print('joined at the end:', dist.is_initialized()))\n"
        f"init_dist('pytorch', backend='gloo', init_method='file://{tmp_path}/store', rank=0, world_size=1)\n"
        "print('joined:', dist.is_initialized())\n"
    )
    environment = {**os.environ, "LOCAL_RANK": "0", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == ["joined: True", "joined at the end: False"]


def averages_of_a_rank(coalesce, bucket_size_mb):
    rank, world_size = dist_utils.get_dist_info()
    assert world_size == 2
    model = nn.Linear(2, 1)
    model.scale = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    model.frozen = nn.Parameter(torch.zeros(1), requires_grad=False)
    model.unused = nn.Parameter(torch.zeros(1))
    with torch.no_grad():
        model.weight.fill_(rank)
    for param in (model.weight, model.bias, model.scale):
        param.grad = torch.full_like(param, 1.0 + rank)
    dist_utils.allreduce_params(model.parameters(), coalesce, bucket_size_mb)
    dist_utils.allreduce_grads(model.parameters(), coalesce, bucket_size_mb)
    said = dist_utils.master_only(lambda: "said")()
    assert model.unused.grad is None
    return (
        model.weight.tolist(),
        [param.grad.flatten().tolist() for param in (model.weight, model.bias, model.scale)],
        said,
    )


@pytest.mark.parametrize(("coalesce", "bucket_size_mb"), [(True, -1), (True, 1), (False, -1)])
def test_averages_over_ranks(coalesce, bucket_size_mb):
    first, second = run_ranks(2, averages_of_a_rank, coalesce, bucket_size_mb)
    assert first == ([[0.5, 0.5]], [[1.5, 1.5], [1.5], [1.5]], "said")
    assert second == (*first[:2], None)
