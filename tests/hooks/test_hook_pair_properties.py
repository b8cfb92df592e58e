"""What two hooks must do together, beyond changing nothing: each by the numbers."""

import gc
import json
import os
from types import SimpleNamespace

import pytest
import torch
from hook_runs import LOOPS, N_EPOCHS, SGD, best_file, config, hook_of, state_of, stop, train, trained
from torch import distributed as torch_dist
from torch.utils.data import Dataset

from trainwright.base.errors import ConfigError
from trainwright.checkpoint import read_file
from trainwright.engine import Event, Hook
from trainwright.hooks import (
    CheckpointHook,
    EarlyStoppingHook,
    EMAHook,
    FreezeHook,
    MaxTimeHook,
    SyncBuffersHook,
    ThroughputHook,
    max_time_hook,
    throughput_hook,
)
from trainwright.registry import DATASETS, MODELS, VISUALIZERS
from trainwright.runner import Runner
from trainwright.testing.ranks import run_ranks
from trainwright.testing.toys import ToyModel, differences
from trainwright.visualization import Visualizer

loops = pytest.mark.parametrize("loop", list(LOOPS))
EMA = {"type": "EMAHook", "momentum": 0.1}
BEST = {"save_best": "real/ce", "rule": "less", "max_keep_ckpts": -1}


def logged(runner, name):
    runner.ctx.metrics.flush()
    scalars = runner.message_hub.log_scalars
    return scalars[name].data[0].tolist() if name in scalars else None


class Time(Hook):
    """A clock that iterations and validations move."""

    priority = "VERY_HIGH"

    def __init__(self, iter_s=10.0, val_s=0.0) -> None:
        self.now, self.iter_s, self.val_s = 1000.0, iter_s, val_s

    def __call__(self) -> float:
        return self.now

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.now += self.iter_s

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self.now += self.val_s


@loops
def test_the_best_file_is_of_the_averaged_weights_and_holds_both(tmp_path, loop):
    plain = train(config(tmp_path / "plain", loop, checkpoint={"max_keep_ckpts": -1}))
    runner = train(config(tmp_path / "ema", loop, EMA, checkpoint=BEST))
    assert not differences(trained(plain), trained(runner))
    scores = logged(runner, "val/real/ce")
    assert scores != logged(plain, "val/real/ce")
    best = hook_of(runner, CheckpointHook).bests[0]
    assert best.score == min(scores)
    held = read_file(best.path)
    number = scores.index(min(scores)) + 1
    of_plain = read_file(
        str(tmp_path / "plain" / (f"epoch_{number}.pth" if loop == "epochs" else f"iter_{4 * number}.pth"))
    )
    both = {f"module.{name}": value for name, value in of_plain["state_dict"].items()}
    other = {name: value for name, value in held["ema_state_dict"].items() if name in both}
    assert not differences(other, both)
    assert differences(held["state_dict"], of_plain["state_dict"])
    again = Runner.from_cfg(config(tmp_path / "again", loop, load_from=best.path))
    assert again.val()["real/ce"] == best.score


class Recalibrate(Hook):
    """Measures the statistics of a norm anew before a validation, after the average was taken."""

    priority = "LOW"

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if (runner.iter + 1) % 4 == 0:
            runner.model.norm.running_mean.fill_(0.1 * runner.iter)


@loops
def test_a_file_of_the_average_has_the_buffers_that_were_validated(tmp_path, loop):
    runner = train(config(tmp_path / "run", loop, EMA, Recalibrate(), checkpoint=BEST))
    assert hook_of(runner, CheckpointHook).bests[0].score == min(logged(runner, "val/real/ce"))
    last = f"epoch_{N_EPOCHS}.pth" if loop == "epochs" else "iter_16.pth"
    again = Runner.from_cfg(config(tmp_path / "again", loop, load_from=str(tmp_path / "run" / last)))
    assert again.val()["real/ce"] == logged(runner, "val/real/ce")[-1]
    again = Runner.from_cfg(config(tmp_path / "best", loop, load_from=best_file(runner)))
    assert again.val()["real/ce"] == min(logged(runner, "val/real/ce"))


@loops
def test_training_goes_on_from_the_best_file_of_an_average(tmp_path, loop):
    cfg = config(tmp_path / "whole", loop, EMA, checkpoint=BEST)
    whole = train(cfg)
    early = stop(config(tmp_path / "parts", loop, EMA, checkpoint=BEST), Event.AFTER_TRAIN_ITER, 10)
    rest = train(config(tmp_path / "rest", loop, EMA, checkpoint=BEST), load_from=best_file(early), resume=True)
    one, other = state_of(rest), state_of(whole)
    for part in ("state_dict", "optimizer", "average", "histories"):
        assert not differences(one[part], other[part])


@loops
def test_early_stopping_judges_the_average_and_leaves_it_in_the_last_file(tmp_path, loop):
    early = {"type": "EarlyStoppingHook", "monitor": "real/ce", "rule": "less", "patience": 1, "min_delta": 10.0}
    runner = train(config(tmp_path / "run", loop, EMA, early, checkpoint={"interval": 100}))
    assert runner.iter == 8  # the first value is the best, the second is no improvement by 10
    hook = hook_of(runner, EarlyStoppingHook)
    assert hook.best_score == logged(runner, "val/real/ce")[0]
    last = hook_of(runner, CheckpointHook).last_ckpt
    average = hook_of(runner, EMAHook).ema_model.module.state_dict()
    assert not differences(read_file(last)["state_dict"], dict(average))
    again = Runner.from_cfg(config(tmp_path / "again", loop, load_from=last))
    assert again.val()["real/ce"] == logged(runner, "val/real/ce")[1]


@loops
def test_the_plateau_and_early_stopping_count_the_same_validations(tmp_path, loop):
    plateau = {"type": "ReduceOnPlateauLR", "monitor": "scripted/acc", "rule": "greater", "patience": 0, "factor": 0.5}
    early = {"type": "EarlyStoppingHook", "monitor": "scripted/acc", "patience": 2}
    settings = {"script": (1.0, 1.0, 1.0, 1.0), "param_scheduler": plateau}
    whole = train(config(tmp_path / "whole", loop, early, **settings))
    assert whole.iter == 12
    assert logged(whole, "train/lr") == [0.1] * 8 + [0.05] * 4
    assert whole.optim_wrapper.get_lr()["lr"] == [0.025]
    parts = config(tmp_path / "parts", loop, early, **settings)
    stop(parts, Event.AFTER_TRAIN_ITER, 9)
    rest = train(parts, resume=True)
    assert rest.iter == 12
    assert logged(rest, "train/lr") == logged(whole, "train/lr")
    assert hook_of(rest, EarlyStoppingHook).wait_count == 2
    third = train(parts, resume=True)  # stopped for good
    assert third.iter == 12


@loops
def test_a_frozen_part_is_its_own_average(tmp_path, loop):
    freeze = {"type": "FreezeHook", "modules": "first"}
    at_first = Runner.from_cfg(config(tmp_path / "first", loop)).model.state_dict()
    runner = train(config(tmp_path / "run", loop, EMA, freeze))
    average = hook_of(runner, EMAHook).ema_model.module.state_dict()
    now = runner.model.state_dict()
    for name in ("first.weight", "first.bias"):
        assert torch.equal(average[name], at_first[name])
        assert torch.equal(now[name], at_first[name])
    assert not torch.equal(average["second.weight"], now["second.weight"])


@loops
def test_the_samples_that_a_frozen_model_sees_count(tmp_path, loop):
    freeze = {"type": "FreezeHook", "modules": "first", "begin": 3, "end": 9, "by_epoch": False}
    runner = train(config(tmp_path, loop, freeze, {"type": "ThroughputHook", "tokens": "inputs"}))
    assert hook_of(runner, ThroughputHook).n_samples == 64
    assert logged(runner, "train/tokens")[-1] == 64 * 6
    assert not hook_of(runner, FreezeHook).is_frozen


@loops
@pytest.mark.parametrize("counts", [1, 2, 3])
def test_time_that_is_up_inside_a_window(tmp_path, monkeypatch, loop, counts):
    """It ends with the window; the checkpoint, the average and the best file go on from there."""
    wrapper = {"optimizer": SGD, "accumulative_counts": counts}
    settings = {"optim_wrapper": wrapper, "checkpoint": {**BEST, "max_keep_ckpts": 2}}
    whole = train(config(tmp_path / "whole", loop, EMA, **settings))
    clock = Time()
    monkeypatch.setattr(max_time_hook, "perf_counter", clock)
    first = train(config(tmp_path / "parts", loop, EMA, {"type": "MaxTimeHook", "max_time": 65}, clock, **settings))
    assert first.iter == {1: 7, 2: 8, 3: 9}[counts]
    assert os.path.isfile(tmp_path / "parts" / f"iter_{first.iter}.pth")
    clock = Time()
    monkeypatch.setattr(max_time_hook, "perf_counter", clock)
    rest = train(
        config(tmp_path / "parts", loop, EMA, {"type": "MaxTimeHook", "max_time": "1d"}, clock, **settings), resume=True
    )
    assert hook_of(rest, MaxTimeHook).elapsed_s == 160.0
    one, other = state_of(rest), state_of(whole)
    one["hooks"].pop("MaxTimeHook")
    assert not differences(one, other)


@loops
def test_garbage_collection_is_on_again_when_the_time_is_up(tmp_path, monkeypatch, loop):
    clock, seen = Time(), []

    class Look(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen.append(gc.isenabled())

    monkeypatch.setattr(max_time_hook, "perf_counter", clock)
    hooks = [{"type": "GarbageCollectionHook"}, {"type": "MaxTimeHook", "max_time": 35}, clock, Look()]
    runner = train(config(tmp_path, loop, *hooks))
    assert runner.iter == 4
    assert seen == [False] * 4
    assert gc.isenabled()


@loops
def test_rates_do_not_know_of_validation_or_a_resume(tmp_path, monkeypatch, loop):
    """A second an iteration of four samples, and a hundred a batch of a validation."""

    def settings():
        clock = Time(1.0, 100.0)
        monkeypatch.setattr(throughput_hook, "perf_counter", clock)
        return clock, {"type": "ThroughputHook", "flops": None}

    stop(config(tmp_path, loop, *settings()), Event.AFTER_TRAIN_ITER, 6)
    runner = train(config(tmp_path, loop, *settings()), resume=True)
    rates = logged(runner, "train/samples_per_s")
    assert rates == [4.0] * 8
    assert hook_of(runner, ThroughputHook).n_samples == 64


class RunsOut(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB")


@loops
def test_memory_that_runs_out_is_reported_and_the_trace_is_kept(tmp_path, loop):
    trace = tmp_path / "trace.json"
    profiler = {"type": "ProfilerHook", "by_epoch": False, "profile_times": 9, "json_trace_path": str(trace)}
    cfg = config(tmp_path / "run", loop, profiler, {"type": "MemoryReportHook"}, EMA, RunsOut())
    runner = Runner.from_cfg(cfg)
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate 1 TiB") as error:
        runner.train()
    report = (next((tmp_path / "run").rglob("out_of_memory.txt"))).read_text(encoding="utf-8")
    assert any(report in note for note in error.value.__notes__)
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    assert any("aten::addmm" in str(event.get("name")) for event in events)
    assert not torch.autograd._profiler_enabled()


@loops
def test_norms_are_the_same_with_a_loss_scale_and_with_clipping(tmp_path, loop):
    """Exact, because the scale is a power of two; clipping logs the norm that the hook would."""
    norms = {"type": "GradNormHook", "modules": ["first", "second"], "weights": True}
    amp = {"type": "AmpOptimWrapper", "dtype": "float32", "loss_scale": 1024.0, "optimizer": SGD}
    runs = {
        "plain": train(config(tmp_path / "plain", loop, norms)),
        "amp": train(config(tmp_path / "amp", loop, norms, optim_wrapper=amp)),
        "clip": train(
            config(tmp_path / "clip", loop, norms, optim_wrapper={"optimizer": SGD, "clip_grad": {"max_norm": 1e9}})
        ),
    }
    for name in ("grad_norm", "grad_norm/first", "grad_norm/second", "weight_norm", "weight_norm/first"):
        values = {run: logged(runner, f"train/{name}") for run, runner in runs.items()}
        assert len(values["plain"]) == 16
        assert values["amp"] == values["plain"]
        assert values["clip"] == (pytest.approx(values["plain"], rel=1e-5) if name == "grad_norm" else values["plain"])


def test_an_overflow_is_a_norm_that_is_not_finite_and_no_update(tmp_path):
    """The scaler skips the update and lowers the scale; the norm says why."""

    class Overflow(Hook):
        priority = "VERY_HIGH"

        def before_train(self, runner):
            runner.optim_wrapper.before_step(lambda: self.spoil(runner))

        def spoil(self, runner):
            if runner.iter == 5:
                runner.model.first.weight.grad[0, 0] = float("inf")

    amp = {"type": "AmpOptimWrapper", "dtype": "float32", "loss_scale": {"init_scale": 2.0**16}, "optimizer": SGD}
    cfg = config(tmp_path, "iters", {"type": "GradNormHook"}, Overflow(), optim_wrapper=amp, model={"type": "ToyModel"})
    runner = train(cfg)
    norms = logged(runner, "train/grad_norm")
    finite = [number == number and abs(number) != float("inf") for number in norms]
    assert finite == [n != 5 for n in range(16)]
    assert runner.optim_wrapper.loss_scale_tensor().item() == 2.0**15
    assert all(torch.isfinite(value).all() for value in runner.model.state_dict().values())


@VISUALIZERS.register_module()
class KeepsSamples(Visualizer):
    def add_datasample(self, name, image, data_sample=None, draw_gt=True, draw_pred=True, step=0):
        self.seen = [*getattr(self, "seen", []), data_sample]


@DATASETS.register_module()
class PicturesOfPoints(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return {"inputs": torch.full((3, 1, 2), index / 4), "data_samples": index}


@MODELS.register_module()
class ToyOfPictures(ToyModel):
    def forward(self, inputs, label=None, data_samples=None, mode="tensor"):
        if mode == "predict":
            scores = ToyModel.forward(self, torch.stack(list(inputs)).flatten(1))
            return [SimpleNamespace(scores=one) for one in scores]
        return super().forward(inputs, label, mode)


def test_samples_are_drawn_with_the_predictions_of_the_average(tmp_path):
    test_set = {
        "dataset": {"type": "PicturesOfPoints"},
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "batch_size": 2,
        "collate_fn": {"type": "pseudo_collate"},
    }
    changes = {
        "model": {"type": "ToyOfPictures"},
        **{"val_dataloader": None, "val_cfg": None, "val_evaluator": None, "test_dataloader": test_set},
        **{"test_cfg": {}, "test_evaluator": {"type": "ScriptedMetric"}},
        "visualizer": {"type": "KeepsSamples", "name": "drawn by the average", "vis_backends": []},
    }
    runner = train(config(tmp_path, "epochs", EMA, {"type": "NaiveVisualizationHook"}, **changes))
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    runner.test()
    average = hook_of(runner, EMAHook).ema_model.module.eval()
    points = torch.stack([PicturesOfPoints()[n]["inputs"] for n in range(4)]).flatten(1)
    with torch.no_grad():
        expected = torch.cat([ToyModel.forward(average, points[:2]), ToyModel.forward(average, points[2:])])
    assert torch.equal(torch.stack([sample.scores for sample in runner.visualizer.seen]), expected)
    assert not differences(before, dict(runner.model.state_dict()))


def test_a_freeze_that_leaves_nothing_is_found_beside_an_average(tmp_path):
    freezes = [{"type": "FreezeHook", "modules": ["*"], "begin": 2}]
    runner = Runner.from_cfg(config(tmp_path, "epochs", EMA, *freezes))
    with pytest.raises(ConfigError, match="leaves nothing of ToyWithNorm to train at iteration 8"):
        runner.train()
    assert all(torch.isfinite(value).all() for value in runner.model.state_dict().values())


def test_the_comparison_can_fail(tmp_path):
    """What the tests of pairs rely on: another seed is seen in every part of the state."""
    hooks = [EMA, {"type": "ThroughputHook"}, {"type": "GradNormHook"}]
    one = state_of(train(config(tmp_path / "one", "epochs", *hooks)))
    seed = {"randomness": {"seed": 2}}
    stopped = stop(config(tmp_path / "other", "epochs", *hooks, **seed), Event.AFTER_TRAIN_ITER, 6)
    found = differences(one, state_of(stopped))
    for part in ("state_dict", "optimizer", "histories", "average", "rng", "loader", "hooks", "clock", "files"):
        assert any(place.startswith(f"['{part}']") for place in found), part


def seen_by_validation(averages_first):
    """The buffers and weights in a validation inside an epoch, and after it, of one rank."""
    rank = torch_dist.get_rank()
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2))
    ema, sync = EMAHook(momentum=0.1), SyncBuffersHook()
    order = [sync, ema] if averages_first else [ema, sync]
    runner = SimpleNamespace(model=model, iter=0, epoch=0, hooks=order)
    ema.before_run(runner)
    for _ in range(2):  # each rank has batches of its own; the gradients, and so the weights, are the same
        model(torch.randn(4, 3) * (rank + 1))
        with torch.no_grad():
            model[1].weight.add_(1.0)
        ema.after_train_iter(runner, 0)
    own = model[0].running_var.tolist()
    trained_weight = model[1].weight.tolist()
    for hook in order:
        hook.before_val_epoch(runner)
    validated = model[0].running_var.tolist(), model[1].weight.tolist()
    average = ema.ema_model.module[1].weight.tolist()
    for hook in order:
        hook.after_val_epoch(runner)
    return {
        "own": own,
        "validated": validated,
        "gives back": model[1].weight.tolist() == trained_weight != validated[1],
        "was swapped": average == trained_weight,
        "after": model[0].running_var.tolist(),
    }


@pytest.mark.parametrize("averages_first", [True, False])
def test_all_ranks_validate_the_average_with_the_same_buffers(averages_first):
    first, second = run_ranks(2, seen_by_validation, averages_first)
    assert first["own"] != second["own"]
    assert first["validated"] == second["validated"]
    assert first["after"] == second["after"] == first["validated"][0]
    assert first["gives back"]
    assert first["was swapped"]
    mean = [(one + other) / 2 for one, other in zip(first["own"], second["own"], strict=True)]
    assert first["after"] == pytest.approx(mean, rel=1e-6)
