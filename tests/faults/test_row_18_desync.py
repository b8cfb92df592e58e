"""Row 18: one bit flipped on one rank is found at the next check, and the parameter is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainwright import Runner
from trainwright.base.errors import ConfigError, DesyncError
from trainwright.dist import get_rank
from trainwright.hooks import DesyncCheckHook, Hook
from trainwright.hooks.desync_hook import fingerprint
from trainwright.testing.rank_runs import in_ranks
from trainwright.testing.toys import toy_config, toy_loader


class FlipBit(Hook):
    """Flips one bit of one weight on rank 1, after iteration 3."""

    priority = "HIGH"

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if runner.iter + 1 == 3 and get_rank() == 1:
            runner.strategy.unwrapped_model.second.weight.data.view(torch.int32)[1, 4] ^= 1


def run(folder: Path, flips: bool, strategy: str, interval: int) -> tuple[str, int]:
    hooks = [DesyncCheckHook(interval), *([FlipBit()] if flips else [])]
    runner = Runner.from_cfg(
        toy_config(
            folder,
            train_dataloader=toy_loader(32, 2),
            train_cfg={"by_epoch": True, "max_epochs": 2},
            custom_hooks=hooks,
            strategy={"type": strategy},
        )
    )
    try:
        runner.train()
    except DesyncError as error:
        return str(error), runner.iter + 1
    return "", runner.iter


def test_a_flipped_bit_is_found_at_the_next_check(tmp_path: Path) -> None:
    for text, at in in_ranks(2, run, tmp_path, True, "DDPStrategy", 4):
        assert at == 4
        assert text.startswith(
            "the ranks hold different weights after iteration 4: second.weight, the first of 4 parameters to differ, "
            "is another one on rank "
        )


@pytest.mark.parametrize("strategy", ["DDPStrategy", "FSDPStrategy"])
def test_ranks_in_step_train_on(tmp_path: Path, strategy: str) -> None:
    assert in_ranks(2, run, tmp_path, False, strategy, 3) == [("", 16)] * 2


def test_each_bit_counts() -> None:
    generator = torch.Generator().manual_seed(1)
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool):
        value = (torch.randn(7, 3, generator=generator) * 9).to(dtype)
        before = int(fingerprint(value))
        assert int(fingerprint(value.clone())) == before
        raw = value.view(torch.uint8).reshape(-1) if dtype is not torch.bool else value.reshape(-1).view(torch.uint8)
        for byte in range(raw.numel()):
            raw[byte] ^= 1
            assert int(fingerprint(value)) != before
            raw[byte] ^= 1
        swapped = value.flip(0)
        assert torch.equal(swapped, value) or int(fingerprint(swapped)) != before


def test_one_process_and_wrong_intervals() -> None:
    from trainwright.hooks.desync_hook import check_in_step

    check_in_step(nn.Linear(2, 2), 1)
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(ConfigError, match="interval of DesyncCheckHook must be a whole number of at least 1"):
            DesyncCheckHook(wrong)
