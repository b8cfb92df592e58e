"""Hooks of the code-first trainer, around steps that need no model."""

import json
import logging
import math
from types import SimpleNamespace

import pytest
import torch

from trainwright.base.errors import ConfigError, ConfigTypeError, EvalResultError, HookError
from trainwright.optim import StepLR as OurStepLR
from trainwright.testing.host_reads import count_host_reads
from trainwright.trainer import (
    BestCheckpointer,
    CallbackHook,
    CommonMetricPrinter,
    EvalHook,
    EventStorage,
    EventWriter,
    IterationTimer,
    JSONWriter,
    LRScheduler,
    PeriodicCheckpointer,
    PeriodicWriter,
    SimpleTrainer,
    TorchMemoryStats,
    TrainerBase,
    get_event_storage,
)


class Trainer(TrainerBase):
    """Puts a loss, and fails at one iteration if asked to."""

    def __init__(self, *hooks, fails_at=None):
        super().__init__()
        self.fails_at = fails_at
        self.register_hooks(hooks)

    def run_step(self):
        if self.iter == self.fails_at:
            raise RuntimeError("the step failed")
        self.storage.put_scalar("loss", float(self.iter))


class Saver:
    """Notes what it is to save."""

    save_dir = ""

    def __init__(self):
        self.saved = []

    def save(self, name, **kwargs):
        self.saved.append((name, kwargs))


class Recorder(EventWriter):
    def __init__(self):
        self.calls = []

    def write(self):
        self.calls.append(get_event_storage().iter)

    def close(self):
        self.calls.append("closed")


def train(*hooks, n_iters=10, start=0, **settings):
    trainer = Trainer(*hooks, **settings)
    trainer.train(start, n_iters)
    return trainer


# -------------------------------------------------------------------------------------------------------- CallbackHook
def test_callbacks_get_the_trainer_at_their_moments():
    calls = []

    def note(name):
        return lambda trainer: calls.append((name, trainer.iter))

    names = ("before_train", "after_train", "before_step", "after_step")
    trainer = Trainer(CallbackHook(**{name: note(name) for name in names}), CallbackHook())
    trainer.train(3, 5)
    trainer.train(5, 6)
    assert calls == [
        ("before_train", 3),
        *[(name, k) for k in (3, 4) for name in ("before_step", "after_step")],
        ("after_train", 5),
        ("before_train", 5),
        ("before_step", 5),
        ("after_step", 5),
        ("after_train", 6),
    ]


def test_callbacks_after_a_backward():
    calls = []

    class Stepping(Trainer):
        def run_step(self):
            self.after_backward()

    Stepping(CallbackHook(after_backward=lambda trainer: calls.append(trainer.iter))).train(0, 2)
    assert calls == [0, 1]


# ------------------------------------------------------------------------------------------------------ IterationTimer
@pytest.fixture
def ticking(monkeypatch):
    """Every look at the clock finds it a second later."""
    now = iter(range(10_000))
    monkeypatch.setattr("trainwright.trainer.hooks.timer.perf_counter", lambda: float(next(now)))


@pytest.mark.usefixtures("ticking")
def test_iterations_are_timed_after_a_warm_up(caplog):
    with caplog.at_level(logging.INFO, logger="trainwright.trainer"):
        trainer = train(IterationTimer(warmup_iter=3), start=5, n_iters=15)
    assert trainer.storage.history("time").values() == [(1.0, k) for k in range(7, 15)]
    assert [record.getMessage() for record in caplog.records][-2:] == [
        "Overall training speed: 8 iterations in 0:00:08 (1.0000 s / it)",
        "Total training time: 0:00:17 (0:00:09 on hooks)",
    ]


@pytest.mark.usefixtures("ticking")
def test_a_training_shorter_than_the_warm_up_has_no_speed(caplog):
    timer = IterationTimer(warmup_iter=3)
    with caplog.at_level(logging.INFO, logger="trainwright.trainer"):
        trainer = train(timer, n_iters=2)
    assert "time" not in trainer.storage.histories()
    assert not any("speed" in record.getMessage() for record in caplog.records)
    trainer.train(2, 6)  # counts anew
    assert [at for _, at in trainer.storage.history("time").values()] == [4, 5]


@pytest.mark.usefixtures("ticking")
def test_without_a_warm_up_all_iterations_count(caplog):
    with caplog.at_level(logging.INFO, logger="trainwright.trainer"), pytest.raises(RuntimeError, match="step failed"):
        train(IterationTimer(warmup_iter=0), fails_at=4)
    assert "4 iterations in 0:00:04" in caplog.text


# ------------------------------------------------------------------------------------------------------ PeriodicWriter
def test_writers_write_every_period_at_the_end_and_are_closed():
    writer = Recorder()
    train(PeriodicWriter([writer], period=4))
    assert writer.calls == [3, 7, 9, 10, "closed"]


def test_writers_are_closed_after_a_failure():
    writers = [Recorder(), Recorder()]
    writers[0].write = lambda: 1 / 0
    with pytest.raises(RuntimeError, match="step failed"):
        train(PeriodicWriter(writers, period=100), fails_at=2)
    assert writers[0].calls == ["closed"]


def test_training_reads_its_values_when_they_are_written(tmp_path, caplog):
    class Model(torch.nn.Linear):
        def forward(self, batch):
            out = super().forward(batch)
            return {"loss_a": out.square().mean(), "loss_b": out.abs().mean()}

    model = Model(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trainer = SimpleTrainer(model, [torch.ones(1, 2)], optimizer)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 30)
    writers = [CommonMetricPrinter(60), JSONWriter(tmp_path / "metrics.json")]
    trainer.register_hooks([IterationTimer(), LRScheduler(scheduler=scheduler), PeriodicWriter(writers)])
    with count_host_reads() as reads, caplog.at_level(logging.INFO, logger="trainwright.trainer"):
        trainer.train(0, 60)
    assert reads.total == 3, reads.report()
    lines = (tmp_path / "metrics.json").read_text(encoding="utf-8").splitlines()
    names = {"data_time", "eta_seconds", "iteration", "loss_a", "loss_b", "lr", "time", "total_loss"}
    assert [set(json.loads(line)) - {"rank_data_time"} for line in lines] == [names] * 3


def test_only_event_writers_are_taken():
    with pytest.raises(ConfigTypeError, match=r"must be EventWriters, but got 'metrics.json' of type str"):
        PeriodicWriter(["metrics.json"])


def test_a_period_is_at_least_one_iteration():
    with pytest.raises(ConfigError, match="PeriodicWriter period must be at least 1 iteration, but got 0"):
        PeriodicWriter([], period=0)
    with pytest.raises(ConfigError, match="TorchMemoryStats period must be at least 1 iteration, but got -1"):
        TorchMemoryStats(period=-1)


def test_metrics_that_other_hooks_put_after_training_are_written(tmp_path):
    path = tmp_path / "metrics.json"
    train(EvalHook(0, lambda: {"metric": 100}), PeriodicWriter([JSONWriter(path)]), n_iters=50)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line["iteration"] for line in lines] == [19, 39, 49, 50]
    assert lines[-1] == {"iteration": 50, "metric": 100.0}
    assert [line["loss"] for line in lines[:-1]] == [9.5, 29.5, 39.5]


def test_the_state_of_the_writers_is_that_of_the_hook(tmp_path):
    hook = PeriodicWriter([Recorder(), JSONWriter(tmp_path / "a.json")], period=4)
    train(hook, n_iters=6)
    state = hook.state_dict()
    assert state == {"writers": {"1": {"last_write": 5}}}
    other = PeriodicWriter([Recorder(), JSONWriter(tmp_path / "b.json")], period=4)
    other.load_state_dict(state)
    with EventStorage(5) as storage:
        storage.put_scalar("seen", 1.0)
        storage.step()
        storage.put_scalar("new", 1.0)
        for writer in other._writers:
            writer.write()
            writer.close()
    assert (tmp_path / "b.json").read_text(encoding="utf-8") == '{"iteration": 6, "new": 1.0}\n'
    fewer = PeriodicWriter([Recorder()])
    fewer.load_state_dict(state)
    assert fewer.state_dict() == {}


# ------------------------------------------------------------------------------------------------------------ EvalHook
@pytest.mark.parametrize(
    ("n_iters", "period", "iterations"), [(30, 15, [14, 30]), (31, 15, [14, 29, 31]), (20, 0, [20])]
)
def test_evaluations_come_every_period_and_after_training(n_iters, period, iterations):
    calls = []
    trainer = Trainer()
    trainer.register_hooks([EvalHook(period, lambda: calls.append(trainer.iter))])
    trainer.train(0, n_iters)
    assert calls == iterations


def test_the_evaluation_after_training_can_be_left_out():
    calls = []
    train(EvalHook(4, lambda: calls.append(1), eval_after_train=False), n_iters=8)
    assert len(calls) == 1


def test_nothing_is_evaluated_after_a_failure():
    calls = []
    with pytest.raises(RuntimeError, match="step failed"):
        train(EvalHook(0, lambda: calls.append(1)), fails_at=5)
    assert calls == []


def test_nested_results_are_put_flat_and_unsmoothed():
    results = {"box": {"AP": 1, "small": {"AP": torch.tensor(0.5)}}, "speed": 2.0}
    trainer = train(EvalHook(5, lambda: results))
    assert trainer.storage.history("box/AP").values() == [(1.0, 4), (1.0, 10)]
    assert trainer.storage.latest()["box/small/AP"] == (0.5, 10)
    assert trainer.storage.smoothing_hints()["box/AP"] is False


def test_results_must_be_a_dict_of_numbers():
    with pytest.raises(
        EvalResultError, match=r"must return a dict of numbers.*returned \[1\.0\] of type list"
    ) as caught:
        train(EvalHook(1, lambda: [1.0]))
    assert isinstance(caught.value, AssertionError)
    with pytest.raises(EvalResultError, match="must return numbers, but box/AP is 'high' of type str") as caught:
        train(EvalHook(1, lambda: {"fine": 1.0, "box": {"AP": "high"}}))
    assert isinstance(caught.value, ValueError)


# ------------------------------------------------------------------------------------------ checkpoints, and the best
def test_checkpoints_come_every_period_and_at_the_end():
    saver = Saver()
    train(PeriodicCheckpointer(saver, 4), n_iters=9)
    assert saver.saved == [
        ("model_0000003", {"iteration": 3}),
        ("model_0000007", {"iteration": 7}),
        ("model_final", {"iteration": 8}),
    ]


def test_old_checkpoints_of_a_foreign_checkpointer_go_through_its_path_manager():
    """fvcore's own Checkpointer has no way to remove any."""
    files = {}

    class Foreign(Saver):
        save_dir = "folder"
        path_manager = SimpleNamespace(exists=files.__contains__, rm=files.pop)

        def save(self, name, **kwargs):
            files[f"folder/{name}.pth"] = kwargs

        def get_all_checkpoint_files(self):
            return list(files)

    files["folder/model_0000001.pth"] = {}
    train(PeriodicCheckpointer(Foreign(), 2, max_to_keep=2), start=2, n_iters=9)
    assert sorted(files) == [f"folder/model_{name}.pth" for name in ("0000005", "0000007", "final")]


@pytest.mark.parametrize(
    ("mode", "metrics", "saved_at"),
    [
        ("max", [0.3, 0.4, 0.35, 0.5], [9, 19, 39]),
        ("min", [1.0, 0.8, 0.9, 0.9], [9, 19]),
        ("min", [math.nan, 0.8, 0.9, 0.9], [19]),
        ("max", [1.0, math.inf, 0.5, 2.0], [9, 39]),
        ("max", [1.0, 1.0, 1.0, 1.0], [9]),
    ],
)
def test_the_best_evaluation_is_saved(mode, metrics, saved_at):
    saver, values = Saver(), iter(metrics)
    train(EvalHook(10, lambda: {"AP": next(values)}), BestCheckpointer(10, saver, "AP", mode, "best"), n_iters=40)
    assert saver.saved == [("best", {"iteration": at}) for at in saved_at]


def test_hooks_refuse_what_they_cannot_do():
    with pytest.raises(ConfigError, match="PeriodicCheckpointer period must be at least 1 iteration, but got 0"):
        PeriodicCheckpointer(Saver(), 0)
    with pytest.raises(ConfigTypeError, match="eval_function must be a function without arguments, but got None"):
        EvalHook(5, None)


def test_a_metric_that_there_is_not_is_told(caplog):
    saver = Saver()
    with caplog.at_level(logging.WARNING):
        train(BestCheckpointer(0, saver, "AP"))
    assert saver.saved == []
    assert "'AP' is not among the metrics" in caplog.text


def test_the_best_is_known_after_a_resume():
    first = BestCheckpointer(1, Saver(), "AP")
    train(EvalHook(0, lambda: {"AP": 5.0}), first)
    saver = Saver()
    second = BestCheckpointer(1, saver, "AP")
    second.load_state_dict(first.state_dict())
    train(EvalHook(0, lambda: {"AP": 4.0}), second)
    assert saver.saved == []
    assert (second.best_metric, second.best_iter) == (5.0, 10)


def test_there_are_two_directions():
    with pytest.raises(ConfigError, match="mode must be 'max' or 'min', but got 'highest'") as caught:
        BestCheckpointer(1, Saver(), "AP", mode="highest")
    assert isinstance(caught.value, AssertionError)


# --------------------------------------------------------------------------------------------------------- LRScheduler
def optimizer_with(*sizes, lr=0.1):
    rates = lr if isinstance(lr, list) else [lr] * len(sizes)
    groups = [
        {"params": [torch.nn.Parameter(torch.zeros(1)) for _ in range(size)], "lr": rate}
        for size, rate in zip(sizes, rates, strict=True)
    ]
    return torch.optim.SGD(groups, 1.0)


class Optimising(Trainer):
    def run_step(self):
        super().run_step()
        self.optimizer.step()


def test_the_learning_rate_of_an_iteration_is_put_before_the_step():
    trainer = Optimising(LRScheduler())
    trainer.optimizer = optimizer_with(1)
    trainer.scheduler = torch.optim.lr_scheduler.StepLR(trainer.optimizer, 3)
    trainer.train(0, 7)
    assert [value for value, _ in trainer.storage.history("lr").values()] == pytest.approx(
        [0.1] * 3 + [0.01] * 3 + [1e-3]
    )
    assert trainer.storage.smoothing_hints()["lr"] is False
    assert trainer.scheduler.last_epoch == 7


def test_our_schedulers_and_those_of_torch_are_taken_and_saved():
    for make in (lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 3), lambda o: OurStepLR(o, 3)):
        optimizer = optimizer_with(1)
        hook = LRScheduler(optimizer, make(optimizer))
        trainer = Optimising(hook)
        trainer.optimizer = optimizer
        trainer.train(0, 5)
        state = hook.state_dict()
        assert state == hook.scheduler.state_dict()
        other = optimizer_with(1)
        resumed = LRScheduler(other, make(other))
        resumed.load_state_dict(state)
        other.load_state_dict(optimizer.state_dict())
        trainer = Optimising(resumed)
        trainer.optimizer = other
        trainer.train(5, 8)
        assert other.param_groups[0]["lr"] == pytest.approx(1e-3)


def test_a_scheduler_and_an_optimizer_must_be_somewhere():
    with pytest.raises(HookError, match=r"LRScheduler has no optimizer: .*LRScheduler\(optimizer=\.\.\.\)"):
        train(LRScheduler())
    with pytest.raises(HookError, match=r"has no scheduler: .*set trainer\.scheduler before training"):
        train(LRScheduler(optimizer_with(1)))


def test_a_function_of_the_progress_is_a_scheduler():
    trainer = Optimising(hook := LRScheduler(scheduler=lambda progress: 1 - progress))
    trainer.optimizer = optimizer_with(1, lr=0.4)
    trainer.train(0, 4)
    assert [value for value, _ in trainer.storage.history("lr").values()] == pytest.approx([0.4, 0.3, 0.2, 0.1])
    again = Optimising(resumed := LRScheduler(scheduler=lambda progress: 1 - progress))
    resumed.trainer = again  # as register_hooks has it
    resumed.load_state_dict(hook.state_dict())
    again.optimizer = trainer.optimizer
    again.train(2, 4)
    assert [value for value, _ in again.storage.history("lr").values()] == pytest.approx([0.2, 0.1])


def test_the_shown_group_is_that_with_most_parameters_or_the_most_common_rate():
    which = LRScheduler.get_best_param_group_id
    assert which(optimizer_with(1, 3, 2)) == 1
    assert which(optimizer_with(2, 3, 3)) == 1
    assert which(optimizer_with(1, 1, 1, lr=[0.1, 0.2, 0.2])) == 1
    assert which(optimizer_with(1, 1, lr=[0.1, 0.2])) == 0
