"""LossGuardHook where a time or a number of tokens ends training, and in a fast dev run."""

import os

import pytest
import torch
from guard_runs import NAN, Poison, guard_of, make

from trainwright.base.errors import NonFiniteLossError
from trainwright.checkpoint.step_record import read_record
from trainwright.engine import Hook

BOTH = pytest.mark.parametrize("by_epoch", [True, False], ids=["epochs", "iters"])
EPOCH = 4  # iterations


def n_samples(batch):
    return len(batch["label"])


class Tick(Hook):
    """A clock by which each iteration takes a second."""

    def __init__(self, monkeypatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("trainwright.engine.loops.budget.perf_counter", lambda: self.now)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.now += 1.0


@BOTH
@pytest.mark.parametrize("policy", ["skip", "rollback"])
@pytest.mark.parametrize("n_iters", [2 * EPOCH + 1, 3 * EPOCH])
@pytest.mark.parametrize("at", [EPOCH + 1, 2 * EPOCH])
def test_the_end_is_saved_though_the_guard_went_back_from_saving_it(tmp_path, by_epoch, policy, n_iters, at):
    train_cfg = {"by_epoch": by_epoch, "max_duration": f"{n_iters * EPOCH} tok", "tokens": n_samples}
    runner = make(tmp_path, Poison(at), guard={"policy": policy}, log=100, train_cfg=train_cfg)
    runner.train()
    assert guard_of(runner).skipped == {at}
    assert runner.iter == n_iters
    last = (tmp_path / "last_checkpoint").read_text().strip()
    assert torch.load(tmp_path / last, weights_only=True)["meta"]["iter"] == n_iters


@BOTH
@pytest.mark.parametrize("policy", ["stop", "skip", "rollback"])
def test_a_time_that_is_over_waits_for_the_way_back(tmp_path, monkeypatch, by_epoch, policy):
    at, guard = EPOCH - 1, {"policy": policy, "snapshot_interval": 0}
    train_cfg = {"by_epoch": by_epoch, "max_duration": f"{EPOCH} s"}
    runner = make(tmp_path, Poison(at), Tick(monkeypatch), guard=guard, log=1000, train_cfg=train_cfg)
    if policy == "stop":
        with pytest.raises(NonFiniteLossError, match=f"iteration {at} .*loss is nan"):
            runner.train()
    else:
        runner.train()
        assert guard_of(runner).skipped == {at}
    # The time was over when the step was found: it ends there, or where rollback goes back to.
    assert runner.iter == {"stop": at, "skip": at + 1, "rollback": 0}[policy]
    assert read_record(tmp_path / "bad_steps" / f"iter_{at}").iteration == at
    if policy == "skip":
        last = (tmp_path / "last_checkpoint").read_text().strip()
        assert torch.load(tmp_path / last, weights_only=True)["meta"]["iter"] == at + 1


def test_a_budget_is_not_over_while_it_waits(tmp_path):
    runner = make(tmp_path, train_cfg={"by_epoch": True, "max_duration": "0.000001 s"})
    budget, reasons = runner.train_loop.budget, ["a step that was bad"]
    assert not budget.start(runner.ctx, lambda: bool(reasons))
    assert not budget.over(runner.ctx, has_paused=True)
    reasons.clear()
    assert budget.over(runner.ctx)


@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_a_fast_dev_run_names_no_folder_that_goes_with_it(tmp_path, policy, capsys):
    runner = make(tmp_path, Poison(0, factor=NAN), guard={"policy": policy}, fast_dev_run=True)
    if policy == "stop":
        with pytest.raises(NonFiniteLossError, match="The fast dev run keeps nothing: train without it") as caught:
            runner.train()
        assert "bad_steps" not in str(caught.value)
    else:
        runner.train()
    out = "".join(capsys.readouterr())
    assert ("the batch of iteration 0 is left out" in out) == (policy == "skip")
    assert "bad_steps" not in out
    assert not os.path.exists(tmp_path / "bad_steps")
