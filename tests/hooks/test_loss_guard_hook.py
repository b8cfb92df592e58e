"""LossGuardHook beside runs in which the model itself leaves the bad batch out."""

import json
import re
from pathlib import Path

import pytest
import torch
from guard_runs import (
    EPOCHS,
    ITERS,
    LONG,
    LOOPS,
    SAVER,
    GuardedNet,
    Poison,
    StopAfter,
    assert_skips,
    guard_of,
    make,
    trained,
)

from trainwright.base.errors import Interrupted, LossSpikeError, NonFiniteLossError
from trainwright.checkpoint.step_record import read_step_record
from trainwright.engine import Event, Hook
from trainwright.hooks import loss_guard_hook
from trainwright.runner import replay_step
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import ToyDataset, differences, toy_loader

# -- skip -------------------------------------------------------------------------------------------------------------


@LOOPS
@pytest.mark.parametrize("log", [1, 100])
@pytest.mark.parametrize("k", [0, 6, 11])
@pytest.mark.parametrize("gradient", [False, True], ids=["loss", "gradient"])
def test_a_skipped_batch_makes_no_update(tmp_path, train_cfg, log, k, gradient):
    runner = assert_skips(tmp_path, [k], Poison(k, gradient=gradient), train_cfg=train_cfg, log=log)
    event = guard_of(runner).events[0]
    assert event["reason"] == ("grad_norm is nan" if gradient else "loss is nan")
    assert Path(event["step_dir"]).name == f"iter_{k}"
    for file in (tmp_path / "guarded").glob("*.pth"):
        weights = torch.load(file, weights_only=True)["state_dict"]
        assert all(torch.isfinite(w).all() for w in weights.values()), file


@LOOPS
@pytest.mark.parametrize("k", [4, 5, 7], ids=["first", "middle", "last"])
@pytest.mark.parametrize("gradient", [False, True], ids=["loss", "gradient"])
@pytest.mark.parametrize("log", [1, 3])
def test_a_batch_inside_an_accumulation_window(tmp_path, train_cfg, k, gradient, log):
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}, "accumulative_counts": 4}
    guard = {"snapshot_interval": 1}
    assert_skips(
        tmp_path, [k], Poison(k, gradient=gradient), guard=guard, train_cfg=train_cfg, log=log, optim_wrapper=wrapper
    )


@LOOPS
def test_a_whole_window_left_out_makes_no_step(tmp_path, train_cfg):
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}, "accumulative_counts": 2}
    assert_skips(tmp_path, [4, 5], Poison(4, 5), train_cfg=train_cfg, optim_wrapper=wrapper)


@LOOPS
def test_two_bad_steps_between_two_looks(tmp_path, train_cfg):
    assert_skips(tmp_path, [3, 4], Poison(3, 4), train_cfg=train_cfg, log=100)


@LOOPS
@pytest.mark.parametrize("k", [2, 6])
def test_with_ema_best_checkpoints_and_schedules(tmp_path, train_cfg, k):
    by_epoch = train_cfg is EPOCHS
    saver = {"type": "CheckpointHook", "interval": 1 if by_epoch else 3, "by_epoch": by_epoch, "max_keep_ckpts": 2,
             "save_best": "accuracy/top1"}  # fmt: skip
    changes = {
        "default_hooks": {"checkpoint": saver},
        "optim_wrapper": {"optimizer": {"type": "AdamW", "lr": 0.01}, "clip_grad": {"max_norm": 1.0}},
        "param_scheduler": [
            {"type": "CosineAnnealingLR", "by_epoch": False, "T_max": 12},
            {"type": "ReduceOnPlateauLR", "monitor": "accuracy/top1", "rule": "greater", "patience": 0},
        ],
        "train_cfg": train_cfg,
    }
    hooks = [
        {"type": "EMAHook", "momentum": 0.2},
        {"type": "EarlyStoppingHook", "monitor": "accuracy/top1", "patience": 20},
        {"type": "GradNormHook", "modules": "first"},
        {"type": "ThroughputHook"},
        {"type": "FreezeHook", "modules": "first", "begin": 5, "end": 8, "by_epoch": False},
        {"type": "MaxTimeHook", "max_time": "1h"},
        {"type": "GarbageCollectionHook", "interval": 2},
    ]
    runner = assert_skips(tmp_path, [k], Poison(k), hooks, log=100, **changes)
    reference = {path.name for path in (tmp_path / "reference").glob("*.pth")}
    assert {path.name for path in (tmp_path / "guarded").glob("*.pth")} == reference
    throughput = next(hook for hook in runner.hooks if type(hook).__name__ == "ThroughputHook")
    assert throughput.n_samples == 12 * 4
    waits = [h for h in runner.hooks if type(h).__name__ == "EarlyStoppingHook"][0].wait_count
    assert waits < 3


@pytest.mark.parametrize("k", [1, 6])
def test_half_precision_with_a_scaler(tmp_path, k):
    wrapper = {"type": "AmpOptimWrapper", "dtype": "float16", "optimizer": {"type": "SGD", "lr": 0.1},
               "loss_scale": {"init_scale": 256.0, "growth_interval": 2}}  # fmt: skip
    runner = assert_skips(tmp_path, [k], Poison(k), optim_wrapper=wrapper)
    assert read_step_record(guard_of(runner).events[0]["step_dir"])[1].autocast == "float16"


def test_an_overflow_is_the_business_of_the_scaler(tmp_path):
    wrapper = {"type": "AmpOptimWrapper", "dtype": "float16", "optimizer": {"type": "SGD", "lr": 0.1}}
    plain = trained(tmp_path / "plain", Poison(5, gradient=True), optim_wrapper=wrapper)[1]
    runner, found = trained(tmp_path / "guarded", Poison(5, gradient=True), guard={}, optim_wrapper=wrapper)
    assert not differences(plain, found)
    assert guard_of(runner).events == []
    low = {**wrapper, "loss_scale": {"init_scale": 0.5}}
    with pytest.raises(NonFiniteLossError, match="iteration 5 .*grad_norm is nan"):
        make(tmp_path / "low", Poison(5, gradient=True), guard={}, optim_wrapper=low).train()


def test_several_optimizers(tmp_path):
    from trainwright.optim import OptimWrapper, OptimWrapperDict

    class Pair(GuardedNet):
        def train_step(self, data, optim_wrapper):
            data = self.data_preprocessor(data, True)
            self.n_steps += 1
            loss = self._run_forward(data, mode="loss")["loss"]
            optim_wrapper["first"].update_params(loss)
            return {"loss": loss}

    def run(name, *hooks, guard=None):
        model = Pair()
        torch.manual_seed(3)
        model.init_weights()
        first, second = (
            OptimWrapper(torch.optim.SGD(part.parameters(), lr=0.1)) for part in (model.first, model.second)
        )
        runner = make(tmp_path / name, *hooks, guard=guard, model=model)
        runner.optim_wrapper = OptimWrapperDict(first=first, second=second)
        runner.train()
        return runner

    runner = run("skip", Poison(5), guard={"policy": "skip"})
    assert guard_of(runner).skipped == {5}
    assert all(torch.isfinite(w).all() for w in runner.model.state_dict().values())
    record = read_step_record(guard_of(runner).events[0]["step_dir"])[1]
    assert set(record.grad_norms) == {"first"}


# -- across a resume --------------------------------------------------------------------------------------------------


@LOOPS
def test_the_list_is_kept_across_a_resume(tmp_path, train_cfg):
    expected = trained(tmp_path / "reference", leaves_out=[3, 6], train_cfg=train_cfg)[1]
    stop = StopAfter(8)
    first = make(tmp_path / "parts", Poison(3, 6), stop, guard={"policy": "skip"}, train_cfg=train_cfg)
    with pytest.raises(Interrupted):
        first.train()
    assert 3 in guard_of(first).skipped
    second, found = trained(
        tmp_path / "parts", Poison(3, 6), guard={"policy": "skip"}, train_cfg=train_cfg, resume=True
    )
    assert guard_of(second).skipped == {3, 6}
    assert not differences(expected, found)


@LOOPS
@pytest.mark.parametrize("k", [6, 7])
def test_a_bad_step_right_after_a_resume(tmp_path, train_cfg, k):
    expected = trained(tmp_path / "reference", leaves_out=[k], train_cfg=train_cfg)[1]
    wrapper = {"train_cfg": train_cfg, "guard": {"policy": "skip"}}
    with pytest.raises(Interrupted):
        make(tmp_path / "parts", StopAt(Event.AFTER_TRAIN_ITER, 6), **wrapper).train()
    second, found = trained(tmp_path / "parts", Poison(k), resume=True, **wrapper)
    assert guard_of(second).skipped == {k}
    assert not differences(expected, found)


def test_an_older_checkpoint_with_the_list_leaves_the_batch_out_again(tmp_path):
    guard = {"policy": "rollback"}
    saver = {"checkpoint": {"type": "CheckpointHook", "interval": 2, "by_epoch": False}}
    whole, expected = trained(tmp_path, Poison(5), guard=guard, default_hooks=saver, train_cfg=ITERS)
    again, found = trained(
        tmp_path / "again",
        guard=guard,
        default_hooks=saver,
        train_cfg=ITERS,
        resume=True,
        load_from=str(tmp_path / "iter_6.pth"),
    )
    assert guard_of(again).skipped == {5} == guard_of(whole).skipped
    assert not differences(expected, found)


# -- stop -------------------------------------------------------------------------------------------------------------


@LOOPS
@pytest.mark.parametrize("gradient", [False, True], ids=["loss", "gradient"])
@pytest.mark.parametrize("k", [0, 6, 11])
def test_stop_leaves_the_last_good_state_and_a_record(tmp_path, train_cfg, gradient, k):
    runner = make(tmp_path / "bad", Poison(k, gradient=gradient), guard={}, train_cfg=train_cfg)
    folder = tmp_path / "bad" / "bad_steps" / f"iter_{k}"
    reason = "grad_norm is nan" if gradient else "loss is nan"
    with pytest.raises(NonFiniteLossError) as error:
        runner.train()
    text = str(error.value)
    assert re.search(rf"at iteration {k} \(counted from 0\): {reason} \(loss = \S+, grad_norm = nan\)", text)
    for part in (f"trainwright replay {folder}", f"resume='{folder}/state.pth'", "policy='skip'", "learning rate"):
        assert part in text
    tree, record = read_step_record(folder)
    assert not differences(dict(runner.model.state_dict()), dict(tree["state_dict"]))
    assert (record.iteration, record.reason, record.policy) == (k, reason, "stop")
    assert record.losses.keys() == {"loss"}
    assert (record.losses["loss"] == record.losses["loss"]) is gradient
    assert record.data_epoch == k // 4
    assert len(record.sample_indices) == 4
    assert json.loads((folder / "step.json").read_text())["sample_indices"] == record.sample_indices
    clean = trained(tmp_path / "clean", train_cfg=train_cfg)[1]
    resumed = trained(tmp_path / "bad", train_cfg=train_cfg, resume=str(folder / "state.pth"))[1]
    assert not differences(clean, resumed)


def test_the_samples_of_the_batch_are_named(tmp_path):
    class Keep(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            self.batch = data_batch["label"].tolist()

    keep = Keep()
    runner = make(tmp_path, Poison(6), keep, guard={}, train_dataloader=toy_loader(15, 3))
    with pytest.raises(NonFiniteLossError):
        runner.train()
    record = read_step_record(tmp_path / "bad_steps" / "iter_6")[1]
    labels = ToyDataset(15).labels
    kept = torch.load(tmp_path / "bad_steps" / "iter_6" / "batch.pth", weights_only=True)["batch"]
    assert [labels[index] for index in record.sample_indices] == kept["label"].tolist()


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("gradient", [False, True], ids=["loss", "gradient"])
def test_the_step_can_be_taken_again(tmp_path, gradient, accumulate):
    wrapper = {"optimizer": {"type": "AdamW", "lr": 0.01}, "accumulative_counts": accumulate}
    runner = make(tmp_path / "bad", Poison(7, gradient=gradient), guard={}, optim_wrapper=wrapper)
    with pytest.raises(NonFiniteLossError):
        runner.train()
    step_dir = tmp_path / "bad" / "bad_steps" / "iter_7"
    for at, is_same in ((7, True), (3, False)):
        again = make(tmp_path / f"again{at}", Poison(at, gradient=gradient), guard={}, optim_wrapper=wrapper)
        replay = replay_step(again, step_dir)
        assert replay.reproduced is is_same, replay.differences
        assert replay.record.grad_norms.keys() == {""}


def test_more_than_the_limit_stops(tmp_path):
    guard = {"policy": "skip", "limit": 2}
    runner = make(tmp_path, Poison(2, 5, 7), guard=guard)
    with pytest.raises(NonFiniteLossError, match=r"number 3 within 1000 iterations, and limit=2") as error:
        runner.train()
    assert "iteration 7" in str(error.value)
    assert (tmp_path / "bad_steps" / "iter_7" / "state.pth").is_file()
    assert guard_of(runner).skipped == {2, 5}


def test_events_longer_ago_do_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr(loss_guard_hook, "_LIMIT_ITERS", 3)
    runner = trained(tmp_path, Poison(2, 5, 8), guard={"policy": "skip", "limit": 1})[0]
    assert guard_of(runner).skipped == {2, 5, 8}


# -- rollback and spikes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [0, 2])
def test_a_spike_rolls_back_to_the_last_checkpoint(tmp_path, margin):
    guard = {"spike_sigma": 10.0, "margin": margin}
    spike = Poison(45, factor=1000.0)
    left_out = list(range(45 - margin, 46 + margin))
    changes = {"train_cfg": LONG, "default_hooks": SAVER, "log": 1}
    runner = assert_skips(tmp_path, [45], spike, policy="rollback", guard=guard, left_out=left_out, **changes)
    record = read_step_record(tmp_path / "guarded" / "bad_steps" / "iter_45")[1]
    assert record.reason.startswith("spike: loss is ")
    assert guard_of(runner).events[0]["policy"] == "rollback"


def test_the_losses_behind_a_spike_are_left_out_with_it(tmp_path):
    spikes = Poison(45, 46, 47, factor=1000.0)
    guard = {"spike_sigma": 10.0}
    changes = {
        "train_cfg": LONG,
        "default_hooks": SAVER,
        "log": 5,
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 1e-6}},
    }
    assert_skips(tmp_path, [45], spikes, policy="rollback", guard=guard, left_out=[45, 46, 47], **changes)


def test_a_spike_stops(tmp_path):
    runner = make(tmp_path, Poison(45, factor=1000.0), guard={"spike_sigma": 10.0}, train_cfg=LONG)
    with pytest.raises(LossSpikeError, match=r"iteration 45 .*spike: loss is .* with a mean of .*policy='skip'"):
        runner.train()


def test_rollback_without_a_checkpoint_begins_anew(tmp_path):
    runner = assert_skips(tmp_path, [5], Poison(5), policy="rollback", train_cfg=ITERS, log=3)
    assert not list((tmp_path / "guarded").glob("iter_5.pth"))
    assert guard_of(runner)._is_on is False


def test_rollback_passes_a_damaged_checkpoint(tmp_path):
    class Damage(Hook):
        def after_save_checkpoint(self, runner, path):
            if path.endswith("iter_20.pth") and runner.iter == 19:
                Path(path).write_bytes(Path(path).read_bytes()[:-100])

    changes = {"train_cfg": LONG, "default_hooks": SAVER}
    runner = assert_skips(tmp_path, [25], Poison(25), [Damage()], policy="rollback", **changes)
    log = next(Path(runner.log_dir).glob("*.log")).read_text()
    assert "LossGuardHook cannot go back to a checkpoint: " in log
    assert re.search(r"back to iteration 10 \(.*iter_10.pth\); left out .* of iterations 25", log)


def test_a_checkpoint_without_optimizer_is_no_place_to_go_back_to(tmp_path):
    saver = {"checkpoint": {**SAVER["checkpoint"], "save_optimizer": False}}
    assert_skips(tmp_path, [25], Poison(25), policy="rollback", train_cfg=LONG, default_hooks=saver)
