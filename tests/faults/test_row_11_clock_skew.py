"""Clocks that jump: which checkpoint is the latest, and which ones go, has nothing to do with time."""

import os
import random
import time

import pytest
import torch
from harness import small_config

from trainwright.checkpoint import CheckpointManager
from trainwright.runner import Runner

TEN_YEARS_S = 10 * 365 * 86400


def set_times(folder, rng):
    for path in folder.rglob("*"):
        moment = time.time() + rng.uniform(-TEN_YEARS_S, TEN_YEARS_S)
        os.utime(path, (moment, moment))


@pytest.mark.parametrize("layout", ["file", "folder"])
def test_the_same_choice_at_all_times(tmp_path, layout):
    manager, rng = CheckpointManager(tmp_path), random.Random(0)
    for n_iters in (7, 300, 25):
        tree = {"meta": {"iter": n_iters, "epoch": 0}, "state_dict": {"w": torch.ones(3)}}
        manager.save(f"iter_{n_iters}.pth", tree, layout)
    order = manager.candidates()
    assert [os.path.basename(path).removesuffix(".pth") for path in order] == ["iter_300", "iter_25", "iter_7"]
    for _ in range(30):
        set_times(tmp_path, rng)
        again = CheckpointManager(tmp_path)
        assert again.candidates() == order
        assert again.latest() == order[0]


@pytest.mark.parametrize("skew_s", [-TEN_YEARS_S, TEN_YEARS_S])
@pytest.mark.parametrize("layout", ["file", "folder"])
def test_a_run_resumed_at_another_time_keeps_and_deletes_the_same(tmp_path, monkeypatch, layout, skew_s):
    keeps = {"max_keep_ckpts": 2, "layout": layout}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    Runner.from_cfg(small_config(whole, layout, 6, checkpoint=keeps)).train()
    Runner.from_cfg(small_config(parts, layout, 3, checkpoint=keeps)).train()
    set_times(parts, random.Random(1))
    real = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: real() + skew_s)
        resumed = Runner.from_cfg(small_config(parts, layout, 6, checkpoint=keeps))
        resumed.train()
    assert resumed.iter == 6
    assert sorted(path.name for path in parts.glob("iter_*")) == sorted(path.name for path in whole.glob("iter_*"))
    assert CheckpointManager(parts).latest() == str(parts / f"iter_6{'.pth' if layout == 'file' else ''}")
