"""EarlyStoppingHook in whole runs of both kinds: alone, with schedules, best checkpoints and EMA, across a resume."""

from types import SimpleNamespace

import pytest

from trainwright.base.errors import ConfigError, ConfigTypeError, Interrupted
from trainwright.checkpoint import read_file
from trainwright.engine import Event, ValLoop
from trainwright.hooks import EarlyStoppingHook
from trainwright.registry import LOOPS as LOOPS_REGISTRY
from trainwright.runner import Runner
from trainwright.testing.host_reads import count_host_reads
from trainwright.testing.recorder import EventRecorder, StopAt
from trainwright.testing.toys import differences, toy_config

LOOPS = {
    "epochs": {"by_epoch": True, "max_epochs": 8},
    "iterations": {"by_epoch": False, "max_iters": 32, "val_interval": 4},
}
PER_VALIDATION = 4  # iterations, with either loop
ACC = [1, 1.05, 1.2, 1.25, 1.26, 1.27, 1.28, 1.29]
loops = pytest.mark.parametrize("loop", list(LOOPS))


def config(folder, loop="epochs", script=ACC, name="acc", **changes):
    stopping = {"monitor": f"toy/{name}", "patience": 2, **changes.pop("stopping", {})}
    hook = {"type": "CheckpointHook", "by_epoch": loop == "epochs", "interval": 1 if loop == "epochs" else 4}
    return toy_config(
        folder,
        **{
            "train_cfg": LOOPS[loop],
            "val_evaluator": {"type": "ScriptedMetric", name: script},
            "default_hooks": {"checkpoint": {**hook, **changes.pop("checkpoint", {})}},
            "custom_hooks": [{"type": "EarlyStoppingHook", **stopping}, *changes.pop("custom_hooks", [])],
            **changes,
        },
    )


def train(cfg):
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def stopper(runner) -> EarlyStoppingHook:
    return next(hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook))


@loops
@pytest.mark.parametrize(
    ("script", "stopping", "validations"),
    [
        (ACC, {}, 5),
        (ACC, {"patience": 5}, 8),
        (ACC, {"min_delta": 0.0}, 8),
        (ACC, {"patience": 1}, 2),
        (ACC, {"patience": 0}, 2),
        (ACC, {"patience": 9, "stopping_threshold": 1.25}, 5),
        (ACC, {"rule": "less"}, 3),
        ([1, 1.5, 2, float("nan"), 9, 9, 9, 9], {}, 4),
        ([1, 1.5, 2, float("inf"), 9, 9, 9, 9], {}, 4),
        ([1, 1.5, 2, float("nan"), 9, float("nan"), float("nan"), 9], {"check_finite": False}, 7),
        ([1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 2.75], {"min_delta": 0.25, "patience": 1}, 8),
    ],
)
def test_where_training_ends(tmp_path, loop, script, stopping, validations):
    runner = train(config(tmp_path, loop, script, stopping=stopping))
    assert len(runner.message_hub.get_scalar("val/toy/acc")) == validations
    assert runner.iter == validations * PER_VALIDATION


@loops
def test_a_loss_and_the_events_of_the_end(tmp_path, loop):
    watch = EventRecorder()
    runner = train(config(tmp_path, loop, [3, 2, 1.95, 1.93], "loss", custom_hooks=[watch]))
    assert stopper(runner).rule == "less"
    assert stopper(runner).min_delta == -0.1
    ends = [Event.AFTER_TRAIN_EPOCH] if loop == "iterations" else []
    assert watch.events[-5 - len(ends) :] == [
        *(Event.AFTER_VAL_EPOCH, Event.AFTER_VAL),
        *ends,
        *(Event.AFTER_TRAIN, Event.TRAIN_CLOSED, Event.AFTER_RUN),
    ]
    assert runner.iter == 16


@loops
@pytest.mark.parametrize("stopped_in", [10, 12, 18])
def test_patience_is_kept_across_a_resume(tmp_path, loop, stopped_in):
    whole = train(config(tmp_path / "whole", loop))
    cfg = config(tmp_path / "parts", loop)
    cfg["custom_hooks"].append(StopAt(Event.AFTER_TRAIN_ITER, stopped_in))
    with pytest.raises(Interrupted):
        train(cfg)
    n_done = (stopped_in - 1) // PER_VALIDATION if stopped_in % PER_VALIDATION == 0 else stopped_in // PER_VALIDATION
    rest = train(config(tmp_path / "parts", loop, ACC[n_done:], resume=True))
    assert rest.iter == whole.iter == 20
    assert stopper(rest).state_dict() == stopper(whole).state_dict()
    assert not differences(dict(rest.model.state_dict()), dict(whole.model.state_dict()))


@loops
def test_a_best_file_knows_of_its_own_validation(tmp_path, loop):
    train(config(tmp_path, loop, checkpoint={"save_best": "auto"}))
    best = next(tmp_path.glob("best_*"))
    state = read_file(best)["hooks"]["EarlyStoppingHook"]
    assert state == {"monitor": "toy/acc", "wait_count": 2, "best_score": 1.2}


@loops
@pytest.mark.parametrize("interval", [1, 100])
@pytest.mark.parametrize("stopping", [{}, {"stopping_threshold": 1.255}])
def test_a_resume_of_what_was_stopped_trains_no_further(tmp_path, loop, interval, stopping):
    given = {"checkpoint": {"interval": interval}, "stopping": {"patience": 2, **stopping}}
    first = train(config(tmp_path, loop, **given))
    again = train(config(tmp_path, loop, ACC[4:], resume=True, **given))
    assert again.iter == first.iter == 20
    more = train(config(tmp_path, loop, ACC[4:], resume=True, stopping={"patience": 9}))
    assert more.iter == 32


@loops
def test_the_last_state_is_saved_when_training_ends_early(tmp_path, loop):
    runner = train(config(tmp_path, loop, checkpoint={"interval": 100, "published_keys": "state_dict"}))
    last = tmp_path / ("epoch_5.pth" if loop == "epochs" else "iter_20.pth")
    saved = read_file(last)
    assert saved["meta"]["iter"] == 20
    assert not differences(dict(saved["state_dict"]), dict(runner.model.state_dict()))
    assert len(list(tmp_path.glob("*.pth"))) == 2
    assert train(config(tmp_path / "b", loop, checkpoint={"interval": 100, "save_last": False})).iter == 20
    assert not list((tmp_path / "b").glob("*.pth"))


@loops
def test_with_a_plateau_schedule(tmp_path, loop):
    plateau = {
        **{"type": "ReduceOnPlateauLR", "monitor": "toy/acc", "rule": "greater", "factor": 0.5, "patience": 0},
        **{"threshold": 0.1, "threshold_rule": "abs"},
    }
    runner = train(config(tmp_path, loop, param_scheduler=[plateau], stopping={"patience": 3}))
    assert runner.iter == 24
    # The validations 2, 4, 5 and 6 were no improvement, and the last one still moved the schedule.
    assert runner.optim_wrapper.get_lr()["lr"] == [0.1 / 2**4]


@loops
def test_with_ema_and_best_checkpoints(tmp_path, loop):
    changes = {"checkpoint": {"save_best": "auto", "published_keys": "state_dict"}}
    runner = train(config(tmp_path, loop, custom_hooks=[{"type": "EMAHook", "momentum": 0.1}], **changes))
    assert runner.iter == 20
    average = next(hook for hook in runner.hooks if type(hook).__name__ == "EMAHook").ema_model.module
    last = next(tmp_path.glob("iter_20-*.pth" if loop == "iterations" else "epoch_5-*.pth"))
    assert not differences(dict(read_file(last)["state_dict"]), dict(average.state_dict()))
    best = next(tmp_path.glob("best_toy_acc_iter_20-*.pth" if loop == "iterations" else "best_toy_acc_epoch_5-*.pth"))
    assert not differences(read_file(best)["state_dict"], read_file(last)["state_dict"])


def test_a_validation_outside_training_changes_nothing(tmp_path):
    runner = train(config(tmp_path, script=[*ACC[:5], 0.0]))
    before = stopper(runner).state_dict()
    runner.val()
    assert stopper(runner).state_dict() == before


@LOOPS_REGISTRY.register_module()
class RenamingValLoop(ValLoop):
    def _run_sets(self):
        metrics = super()._run_sets()
        return {f"{name}u": value for name, value in metrics.items()}


def test_a_metric_that_does_not_come(tmp_path, capsys):
    cfg = config(tmp_path, script=[1] * 8, val_cfg={"type": "RenamingValLoop"})
    assert train(cfg).iter == 32
    told = "monitor='toy/acc' is not among the metrics: toy/accu. Did you mean 'toy/accu'?"
    assert capsys.readouterr().err.count(told) == 1
    cfg = config(tmp_path, val_cfg={"type": "RenamingValLoop"}, stopping={"strict": True})
    with pytest.raises(ConfigError, match="monitor='toy/acc' is not among the metrics: toy/accu"):
        train(cfg)


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        ({"monitor": 3}, ConfigTypeError, "monitor must be a metric's name, but got 3"),
        ({"monitor": "odd"}, ConfigError, "EarlyStoppingHook cannot tell from its name .*monitor='odd'"),
        ({"monitor": "acc", "rule": "grater"}, ConfigError, "EarlyStoppingHook rule must be .*Did you mean 'greater'"),
        ({"monitor": "acc", "patience": -1}, ConfigError, "patience must be a number of validations.* got -1"),
        ({"monitor": "acc", "patience": 1.5}, ConfigError, "patience must be a number of validations.* got 1.5"),
        ({"monitor": "acc", "min_delta": -0.1}, ConfigError, "min_delta must be at least 0.*got -0.1"),
    ],
)
def test_impossible_settings(settings, kind, text):
    with pytest.raises(kind, match=text):
        EarlyStoppingHook(**settings)


def test_wrong_settings_are_found_before_the_run(tmp_path):
    with pytest.raises(ConfigError, match=r"monitor='accuracy/to1' is not among the metrics .*accuracy/top1"):
        Runner.from_cfg(config(tmp_path, val_evaluator={"type": "Accuracy"}, stopping={"monitor": "accuracy/to1"}))
    with pytest.raises(ConfigError, match="patience"):
        Runner.from_cfg(config(tmp_path, stopping={"patience": "two"}))


def test_a_loop_that_cannot_be_stopped():
    with pytest.raises(ConfigError, match="cannot stop SimpleNamespace: it has no attribute stop_training"):
        EarlyStoppingHook("acc").before_train(SimpleNamespace(train_loop=SimpleNamespace()))


def test_another_metric_starts_anew():
    hook = EarlyStoppingHook("acc")
    hook.load_state_dict({"monitor": "loss", "wait_count": 3, "best_score": 0.5})
    assert hook.wait_count == 0
    hook.load_state_dict({"monitor": "acc", "wait_count": 3, "best_score": 0.5})
    assert (hook.wait_count, hook.best_score) == (3, 0.5)


def test_training_reads_nothing_for_it(tmp_path):
    with count_host_reads() as reads:
        train(config(tmp_path))
    assert not [where for _, where in reads.sites if "early_stopping" in where]
