"""Joining a process group: what is refused, and why."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
import torch

from trainwright import dist
from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.testing.ranks import run_ranks

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def _no_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("launcher", "settings", "error", "text"),
    [
        ("pytorh", {}, ConfigError, "launcher 'pytorh' is not available; available: 'none', 'pytorch', 'slurm'"),
        ("pytorch", {}, ConfigError, "RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT is missing: start with"),
        ("none", {"timeot": 3}, ConfigError, "dist_cfg has no setting 'timeot'; it takes backend, timeout"),
        ("none", {"port": 0}, ConfigTypeError, "dist_cfg port must be a whole number from 1 to 65535, but got 0"),
        ("pytorch", {"port": 29501}, ConfigError, "dist_cfg port is for launcher='slurm' and 'mpi': torchrun chooses"),
        (
            "none",
            {"timeout": "3"},
            ConfigTypeError,
            "dist_cfg timeout must be a number of seconds above 0, but got '3'",
        ),
        ("none", {"timeout": 0}, ConfigTypeError, "above 0, but got 0"),
        ("none", {"init_backend": "deepspeed"}, ConfigError, "init_backend='deepspeed' is not available; leave it out"),
    ],
)
def test_refused(launcher: str, settings: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        dist.init_dist(launcher, **settings)


def test_nothing_is_started_for_one_process() -> None:
    dist.init_dist("none", "nccl", timeout=timedelta(seconds=3))
    assert not dist.is_distributed()
    assert dist.infer_launcher() == "none"
    dist.cleanup()


def test_torchrun_is_inferred(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "1")
    assert dist.infer_launcher() == "pytorch"


def exchange() -> Any:
    dist.init_dist("pytorch")  # a group that exists is taken as it is
    dist.cleanup()
    rank = dist.get_rank()
    data = torch.full((2, 2), float(rank))
    parts = dist.all_gather(data.t())
    dist.broadcast(data[:, 1], src=1)
    return dist.is_distributed(), [part.sum().item() for part in parts], data.tolist()


def test_tensors_are_exchanged() -> None:
    first, second = run_ranks(2, exchange)
    assert first == (True, [0.0, 4.0], [[0.0, 1.0], [0.0, 1.0]])
    assert second == (True, [0.0, 4.0], [[1.0, 1.0], [1.0, 1.0]])
    alone = torch.ones(2)
    assert dist.all_gather(alone) == [alone]
    dist.broadcast(alone)
