"""Weights that part: of copies under HSDP, of buffers, and before a checkpoint is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.fsdp
from torch import nn

from trainwright import dist
from trainwright.base.errors import DesyncError
from trainwright.engine import Hook
from trainwright.hooks.desync_hook import check_in_step, fingerprint
from trainwright.testing.rank_runs import EVERY_2, train_toy
from trainwright.testing.ranks import run_ranks


def text_of(model: nn.Module, buffers: bool = False) -> str:
    try:
        check_in_step(model, 5, buffers)
    except DesyncError as error:
        return str(error)
    return ""


def copies_of_parts() -> list[str]:
    from torch.distributed.device_mesh import init_device_mesh

    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard"))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    torch.distributed.fsdp.fully_shard(model, mesh=mesh)
    found = [text_of(model)]
    if dist.get_rank() == 3:  # a copy of the part of rank 1
        weight: Any = model[1].weight
        with torch.no_grad():
            weight.to_local()[0, 0] += 1
    return [*found, text_of(model)]


def test_copies_of_a_part_are_compared_and_parts_of_ones_own_are_not() -> None:
    for healthy, parted in run_ranks(4, copies_of_parts):
        assert healthy == ""
        assert parted.startswith("the ranks hold different weights after iteration 5: 1.weight, the first of 4 param")
        assert "is another one on rank " in parted


def parts_alone() -> str:
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    torch.distributed.fsdp.fully_shard(model)
    return text_of(model)


def test_parts_that_each_rank_has_of_its_own_are_no_difference() -> None:
    assert run_ranks(2, parts_alone) == ["", ""]


def averages() -> list[str]:
    torch.manual_seed(0)
    model = nn.BatchNorm1d(3)
    if dist.get_rank() == 1:
        buffers: Any = model.running_mean
        buffers[2] = 7.0
    return [text_of(model), text_of(model, buffers=True)]


def test_buffers_are_compared_where_that_is_wished_for() -> None:
    for without, with_them in run_ranks(3, averages):
        assert without == ""
        assert "running_mean, the first of 5 parameters to differ, is another one on rank 1." in with_them


class Flip(Hook):
    """Changes one weight of rank 1 after its third iteration."""

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if (runner.rank, runner.iter) == (1, 2):
            with torch.no_grad():
                runner.strategy.unwrapped_model.second.bias[1] += 1e-3


def save_parted(folder: Path) -> str:
    hooks = [{"type": "DesyncCheckHook", "before_save": True}, Flip()]
    try:
        train_toy(folder, strategy={"type": "DDPStrategy"}, custom_hooks=hooks, default_hooks=EVERY_2)
    except DesyncError as error:
        return str(error)
    return ""


def test_nothing_is_saved_of_ranks_that_have_parted(tmp_path: Path) -> None:
    first, second = run_ranks(2, save_parted, tmp_path)
    assert first == second
    assert "different weights after iteration 4: second.bias" in first
    assert sorted(path.name for path in tmp_path.glob("iter_*")) == ["iter_2.pth"]


@pytest.mark.parametrize("dtype", [torch.bool, torch.bfloat16, torch.float32, torch.complex64])
def test_a_fingerprint_goes_by_the_numbers_and_not_by_where_they_lie(dtype: torch.dtype) -> None:
    flat = torch.arange(9).to(dtype)
    for begin in range(4):  # in a buffer of several parameters, as engines have them
        part = flat[begin : begin + 5]
        assert torch.equal(fingerprint(part), fingerprint(part.clone()))
    assert not torch.equal(fingerprint(flat[:4]), fingerprint(flat[:4].flip(0)))
