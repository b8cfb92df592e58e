"""Rows 20 and 21: a resumed run ends as an unbroken one, and keeps its samples when the number of ranks changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from resume_grid import Case, grid, resume_differs

from trainwright.testing.rank_runs import ADAM, SampleRecorder, in_ranks, train_toy
from trainwright.testing.toys import toy_loader

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

SAMPLE = [
    Case("epoch", 2, "amp", "single"),
    Case("iter", 2, "accumulation", "single"),
    Case("epoch", 0, "ema", "DDP2"),
    Case("iter", 0, "schedulers", "DDP3"),
    Case("iter", 2, "ema", "FSDP2"),
]


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: "-".join(map(str, case)))
def test_a_resumed_run_ends_bit_for_bit_as_an_unbroken_one(tmp_path: Path, case: Case) -> None:
    assert case in set(grid())
    assert resume_differs(case, tmp_path) == []


def run(folder: Path, strategy: str, batch_size: int, resume_from: str | None) -> tuple[list[Any], dict[str, Any]]:
    recorder = SampleRecorder()
    runner = train_toy(
        folder,
        train_dataloader=toy_loader(48, batch_size),
        train_cfg={"by_epoch": True, "max_epochs": 2},
        optim_wrapper={"optimizer": ADAM},
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 3, "by_epoch": False}},
        custom_hooks=[recorder],
        strategy={"type": strategy},
        load_from=resume_from,
        resume=resume_from is not None,
    )
    return recorder.batches, runner.strategy.model_state_dict()


@pytest.mark.parametrize("strategy", ["DDPStrategy", "FSDPStrategy"])
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3)])
def test_the_global_order_is_kept_when_the_number_of_ranks_changes(
    tmp_path: Path, strategy: str, before: int, after: int
) -> None:
    """Global batches of 12, in epochs of 4: stopped after 3, in the middle of the first one."""
    whole = in_ranks(before, run, tmp_path / "whole", strategy, 12 // before, None)
    path = tmp_path / "whole" / "iter_3.pth"
    start = str(path if path.exists() else path.with_suffix(""))
    rest = in_ranks(after, run, tmp_path / "rest", strategy, 12 // after, start)
    assert _global_batches(rest) == _global_batches(whole)[3:]
    for name, value in whole[0][1].items():
        torch.testing.assert_close(rest[0][1][name], value, rtol=0, atol=1e-5)


def _global_batches(ranks: list[Any]) -> list[list[Any]]:
    return [sorted(sum((list(batch) for batch in batches), [])) for batches in zip(*(r[0] for r in ranks), strict=True)]
