"""What detectron2's users rely on in its trainers and hooks, through ``import detectron2``."""

import gc
import json
import logging
import math
import os
from unittest import mock

import pytest
import torch
from torch import nn


class Model(nn.Module):
    """It says one loss, to which every parameter belongs."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x):
        return {"loss": x.sum() + sum(p.mean() for p in self.parameters())}


def batches():
    while True:
        yield torch.rand(3, 3)


def simple(module, model=None, loader=None, lr=0.1, **settings):
    model = model or Model()
    optimizer = torch.optim.SGD(model.parameters(), lr)
    return module.SimpleTrainer(model, loader or batches(), optimizer, **settings)


@pytest.fixture
def loop(detectron2):
    return detectron2.engine.train_loop


@pytest.fixture
def hooks(detectron2):
    return detectron2.engine.hooks


# --- trainers


def test_names_that_are_imported(detectron2):
    from detectron2.engine import AMPTrainer, HookBase, SimpleTrainer, TrainerBase
    from detectron2.engine import hooks as found
    from detectron2.engine.train_loop import SimpleTrainer as direct

    assert direct is SimpleTrainer
    assert issubclass(AMPTrainer, SimpleTrainer)
    assert issubclass(SimpleTrainer, TrainerBase)
    for name in (
        "CallbackHook", "IterationTimer", "PeriodicWriter", "PeriodicCheckpointer", "BestCheckpointer", "LRScheduler",
        "AutogradProfiler", "EvalHook", "PreciseBN", "TorchProfiler", "TorchMemoryStats",
    ):  # fmt: skip
        assert issubclass(getattr(found, name), HookBase)
        assert name in found.__all__


def test_a_simple_training(loop):
    trainer = simple(loop)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.train(0, 10)
    assert (trainer.start_iter, trainer.max_iter, trainer.iter) == (0, 10, 10)
    assert all(not torch.equal(p, b) for p, b in zip(trainer.model.parameters(), before, strict=True))


@pytest.mark.parametrize(
    "settings",
    [{"gather_metric_period": 3}, {"zero_grad_before_forward": True}, {"async_write_metrics": True}],
    ids=["gather_metric_period", "zero_grad_before_forward", "async_write_metrics"],
)
def test_settings_that_change_no_weight(loop, settings):
    torch.manual_seed(0)
    one = simple(loop)
    other = simple(loop, **settings)
    other.model.load_state_dict(one.model.state_dict())
    for trainer in (one, other):
        trainer.train(0, 5)
    assert torch.equal(one.model.linear.weight, other.model.linear.weight)


def test_another_loader(loop):
    trainer = simple(loop)
    trainer.train(0, 10)
    made = mock.Mock(side_effect=batches)
    trainer.reset_data_loader(made)
    trainer.train(0, 10)
    made.assert_called_once_with()


def test_losses_and_times_are_stored(loop):
    class Two(Model):
        def forward(self, x):
            zero = self.linear(x[:, :2]).sum() * 0
            return {"first": zero + 1, "second": zero + 2}

    trainer = simple(loop, Two())
    trainer.train(3, 5)
    latest = trainer.storage.latest()
    assert latest["total_loss"] == (3.0, 4)
    assert (latest["first"][0], latest["second"][0]) == (1.0, 2.0)
    assert latest["data_time"][0] >= 0


def test_a_loss_may_be_a_tensor(loop):
    class One(Model):
        def forward(self, x):
            return self.linear(x[:, :2]).sum() * 0 + 2

    trainer = simple(loop, One())
    trainer.train(0, 1)
    assert trainer.storage.latest()["total_loss"][0] == 2.0


def test_a_loss_that_is_no_number(loop):
    class Bad(Model):
        def forward(self, x):
            return {"loss": self.linear(x[:, :2]).sum() * math.nan}

    with pytest.raises(FloatingPointError, match="iteration=4"):
        simple(loop, Bad()).train(4, 6)


def test_a_model_that_was_put_into_evaluation(loop):
    class Turn(loop.HookBase):
        def before_step(self):
            self.trainer.model.eval()

    trainer = simple(loop)
    trainer.register_hooks([Turn()])
    with pytest.raises(AssertionError, match="eval mode"):
        trainer.train(0, 1)


def test_hooks_in_order(loop):
    said = []

    class Speak(loop.HookBase):
        def __init__(self, name):
            self.name = name

        def note(self, point):
            trainer = self.trainer
            said.append((point, self.name, trainer.iter, trainer.storage.iter))

        def before_train(self):
            self.note("before_train")

        def after_train(self):
            self.note("after_train")

        def before_step(self):
            self.note("before_step")

        def after_backward(self):
            self.note("after_backward")

        def after_step(self):
            self.note("after_step")

    trainer = simple(loop)
    trainer.register_hooks([Speak("a"), None, Speak("b")])
    trainer.train(5, 7)
    expected = [("before_train", 5, 5)]
    for iteration in (5, 6):
        expected += [(point, iteration, iteration) for point in ("before_step", "after_backward", "after_step")]
    expected.append(("after_train", 7, 7))
    assert said == [(point, name, *numbers) for point, *numbers in expected for name in "ab"]
    with pytest.raises((AssertionError, TypeError)):
        trainer.register_hooks(["no hook"])


def test_hooks_do_not_own_the_trainer(loop):
    hook = loop.HookBase()
    trainer = simple(loop)
    trainer.register_hooks([hook])
    assert hook.trainer.model is trainer.model
    del trainer
    gc.collect()
    with pytest.raises(ReferenceError):
        _ = hook.trainer.model
    assert hook.state_dict() == {}


def test_a_failure_is_told_and_ends_in_order(loop, caplog):
    ended = []

    class Fail(loop.HookBase):
        def before_step(self):
            if self.trainer.iter == 2:
                raise KeyError("on purpose")

        def after_train(self):
            ended.append(self.trainer.iter)

    trainer = simple(loop)
    trainer.register_hooks([Fail()])
    with caplog.at_level(logging.INFO), pytest.raises(KeyError, match="on purpose"):
        trainer.train(0, 5)
    assert ended == [2]
    assert any(record.exc_info and record.exc_info[0] is KeyError for record in caplog.records)


def test_a_loop_of_ones_own(loop):
    class Count(loop.TrainerBase):
        def __init__(self):
            super().__init__()
            self.seen = []

        def run_step(self):
            self.seen.append(self.iter)
            self.storage.put_scalar("seen", len(self.seen))

    trainer = Count()
    trainer.train(2, 6)
    assert trainer.seen == [2, 3, 4, 5]
    assert trainer.storage.history("seen").values() == [(1.0, 2), (2.0, 3), (3.0, 4), (4.0, 5)]
    with pytest.raises(NotImplementedError):
        loop.TrainerBase().train(0, 1)


def test_a_step_of_ones_own(loop):
    """A subclass that accumulates over two batches."""

    class Accumulate(loop.SimpleTrainer):
        def run_step(self):
            self.optimizer.zero_grad()
            for _ in range(2):
                (self.model(next(self._data_loader_iter))["loss"] / 2).backward()
            self.optimizer.step()

    counted = iter([torch.ones(3, 3)] * 6)
    model = Model()
    trainer = Accumulate(model, counted, torch.optim.SGD(model.parameters(), 0.1))
    trainer.train(0, 3)
    assert next(counted, None) is None


def test_a_step_that_writes_its_metrics_in_one_dict(loop):
    """As the first releases of detectron2 had it, and as trainers derived from those still do."""

    class Written(loop.SimpleTrainer):
        def run_step(self):
            losses = self.model(next(self._data_loader_iter))
            total = sum(losses.values())
            self._detect_anomaly(total, losses)
            self._write_metrics({**losses, "data_time": 0.25})
            self.optimizer.zero_grad()
            total.backward()
            self.optimizer.step()

    model = Model()
    trainer = Written(model, batches(), torch.optim.SGD(model.parameters(), 0.1))
    before = model.linear.weight.detach().clone()
    trainer.train(0, 2)
    assert trainer.storage.latest()["data_time"] == (0.25, 1)
    assert trainer.storage.history("total_loss").values()[0][1] == 0
    assert not torch.equal(model.linear.weight, before)


def test_a_trainer_that_has_its_steps_made_by_another(loop, hooks):
    """As detectron2's own DefaultTrainer does."""

    class Outer(loop.TrainerBase):
        def __init__(self):
            super().__init__()
            self._trainer = simple(loop)

        def run_step(self):
            self._trainer.iter = self.iter
            self._trainer.run_step()

        def state_dict(self):
            return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    seen = []
    trainer = Outer()
    trainer.register_hooks([hooks.CallbackHook(after_step=lambda t: seen.append(t.storage.latest()["total_loss"][1]))])
    trainer.train(0, 3)
    assert seen == [0, 1, 2]
    assert trainer.state_dict()["_trainer"]["optimizer"]["param_groups"]


def test_the_list_of_hooks_may_be_put_in_another_order(loop, hooks):
    called = []
    trainer = simple(loop)
    trainer.register_hooks([hooks.CallbackHook(after_step=lambda t, at=n: called.append(at)) for n in range(3)])
    trainer._hooks = [trainer._hooks[-1], *trainer._hooks[:-1]]
    trainer._hooks.insert(-1, hooks.CallbackHook())
    trainer.train(0, 1)
    assert called == [2, 0, 1]


# --- checkpoints


class Saved:
    """The parts of a checkpointer that hooks ask for, over torch.save."""

    def __init__(self, folder, model, **more):
        self.folder, self.parts = folder, {"model": model, **more}

    def save(self, name, **extra):
        state = {key: part.state_dict() for key, part in self.parts.items()}
        torch.save({**state, **extra}, os.path.join(self.folder, f"{name}.pth"))
        self.last = name

    def load(self):
        state = torch.load(os.path.join(self.folder, f"{self.last}.pth"))
        for key, part in self.parts.items():
            part.load_state_dict(state[key])
        return state


@pytest.mark.parametrize("own", [True, False], ids=["ours", "torch.save"])
def test_a_training_is_resumed(detectron2, loop, hooks, tmp_path, own):
    def made(lr):
        model = Model()
        optimizer = torch.optim.SGD(model.parameters(), lr)
        trainer = loop.SimpleTrainer(model, batches(), optimizer)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
        if own:
            from detectron2.checkpoint import Checkpointer

            checkpointer = Checkpointer(model, str(tmp_path), opt=optimizer, trainer=trainer)
        else:
            checkpointer = Saved(tmp_path, model, opt=optimizer, trainer=trainer)
        return trainer, optimizer, scheduler, checkpointer

    trainer, optimizer, scheduler, checkpointer = made(0.1)
    trainer.register_hooks([hooks.LRScheduler(scheduler=scheduler), hooks.PeriodicCheckpointer(checkpointer, 10)])
    trainer.train(0, 12)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-5)
    assert scheduler.last_epoch == 12
    names = sorted(path.name for path in tmp_path.glob("*.pth"))
    assert names == ["model_0000009.pth", "model_final.pth"]
    weights, last = trainer.model.state_dict(), getattr(checkpointer, "last", None)
    del trainer

    trainer, optimizer, scheduler, checkpointer = made(999)
    trainer.register_hooks([hooks.LRScheduler(scheduler=scheduler)])
    if own:
        loaded = checkpointer.resume_or_load("non_exist.pth")
        assert checkpointer.has_checkpoint()
    else:
        checkpointer.last = last
        loaded = checkpointer.load()
    assert loaded["iteration"] == 11
    assert trainer.iter == 11  # the last that was finished
    assert scheduler.last_epoch == 12  # how often it has stepped
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-5)
    assert all(torch.equal(value, weights[name]) for name, value in trainer.model.state_dict().items())
    trainer.train(trainer.iter + 1, 15)
    assert scheduler.last_epoch == 15


def test_states_of_a_trainer(loop):
    class Counts(loop.HookBase):
        def __init__(self):
            self.count = 0

        def after_step(self):
            self.count += 1

        def state_dict(self):
            return {"count": self.count}

        def load_state_dict(self, state):
            self.count = state["count"]

    class Keeps(loop.HookBase):
        def after_step(self):
            states.append(self.trainer.state_dict())

    states = []
    first, second = simple(loop), simple(loop)
    first.register_hooks([Counts(), loop.HookBase(), Keeps()])
    first.train(0, 3)
    state = states[-1]
    assert state["iteration"] == 2  # the one under way, which is finished
    assert len(state["hooks"]) == 1
    assert set(state["optimizer"]) == {"state", "param_groups"}
    hook = Counts()
    second.register_hooks([hook])
    second.load_state_dict(state)
    assert hook.count == 3
    assert second.iter == 2


@pytest.mark.parametrize(
    ("mode", "values", "saves"),
    [
        ("max", [0.3, 0.4, 0.35, 0.5], 3),
        ("min", [1.0, 0.8, 0.9, 0.9], 2),
        ("min", [math.nan, 0.8, 0.9, 0.9], 1),
    ],
)
def test_the_best_is_saved(detectron2, loop, hooks, tmp_path, mode, values, saves):
    from detectron2.checkpoint import Checkpointer

    trainer = simple(loop)
    checkpointer = Checkpointer(trainer.model, str(tmp_path), opt=trainer.optimizer, trainer=trainer)
    left = iter(values)
    trainer.register_hooks(
        [
            hooks.EvalHook(10, lambda: {"metric": next(left)}),
            hooks.BestCheckpointer(10, checkpointer, "metric", mode=mode),
        ]
    )
    with mock.patch.object(checkpointer, "save") as save:
        trainer.train(0, 40)
    assert save.call_count == saves
    assert save.call_args.args[0] == "model_best"


def test_old_checkpoints_go(detectron2, loop, hooks, tmp_path):
    from detectron2.checkpoint import Checkpointer

    trainer = simple(loop)
    checkpointer = Checkpointer(trainer.model, str(tmp_path), trainer=trainer)
    trainer.register_hooks([hooks.PeriodicCheckpointer(checkpointer, 2, max_to_keep=2, file_prefix="mine")])
    trainer.train(0, 9)
    names = sorted(path.name for path in tmp_path.glob("*.pth"))
    assert names == ["mine_0000005.pth", "mine_0000007.pth", "mine_final.pth"]
    assert (tmp_path / "last_checkpoint").read_text().strip() == "mine_final.pth"


# --- other hooks


@pytest.mark.parametrize(("length", "period", "calls"), [(30, 15, 2), (31, 15, 3), (20, 0, 1)])
def test_evaluations(loop, hooks, length, period, calls):
    evaluate = mock.Mock(return_value={"metric": 3.0})
    trainer = simple(loop)
    trainer.register_hooks([hooks.EvalHook(period, evaluate)])
    trainer.train(0, length)
    assert evaluate.call_count == calls


def test_an_evaluation_gives_numbers(loop, hooks):
    trainer = simple(loop)
    trainer.register_hooks([hooks.EvalHook(1, lambda: {"bbox": {"AP": 0.5}, "one": 1})])
    trainer.train(0, 2)
    assert trainer.storage.latest()["bbox/AP"][0] == 0.5
    assert trainer.storage.latest()["one"][0] == 1.0
    trainer = simple(loop)
    trainer.register_hooks([hooks.EvalHook(1, lambda: {"text": "no number"})])
    with pytest.raises(ValueError, match="text"):
        trainer.train(0, 2)
    trainer = simple(loop)
    trainer.register_hooks([hooks.EvalHook(1, lambda: [1])])
    with pytest.raises(AssertionError):
        trainer.train(0, 2)


def test_writers_write(detectron2, loop, hooks, tmp_path, caplog):
    from detectron2.utils.events import CommonMetricPrinter, JSONWriter

    file = tmp_path / "metrics.json"
    writers = [CommonMetricPrinter(50), JSONWriter(str(file))]
    trainer = simple(loop)
    trainer.register_hooks(
        [hooks.IterationTimer(), hooks.EvalHook(0, lambda: {"metric": 100}), hooks.PeriodicWriter(writers)]
    )
    with caplog.at_level(logging.INFO, writers[0].logger.name):
        trainer.train(0, 50)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [19, 39, 49, 50]
    assert lines[-1]["metric"] == 100
    assert {"total_loss", "data_time", "time"} <= set(lines[0])
    printed = [record.getMessage() for record in caplog.records if record.name == writers[0].logger.name]
    assert len(printed) == 3
    for line, iteration in zip(printed, (19, 39, 49), strict=True):
        assert f"iter: {iteration}" in line
    assert "eta: 0:00:00" in printed[-1]
    with pytest.raises((AssertionError, TypeError)):
        hooks.PeriodicWriter(["no writer"])


def test_a_writer_of_ones_own(detectron2, loop, hooks):
    from detectron2.utils.events import EventWriter, get_event_storage

    class Mine(EventWriter):
        seen, closed = [], 0

        def write(self):
            storage = get_event_storage()
            self.seen.append((storage.iter, sorted(storage.latest())))

        def close(self):
            Mine.closed += 1

    trainer = simple(loop)
    trainer.register_hooks([hooks.PeriodicWriter([Mine()], period=2)])
    trainer.train(0, 5)
    assert [iteration for iteration, _ in Mine.seen] == [1, 3, 4, 5]
    assert "total_loss" in Mine.seen[0][1]
    assert Mine.closed == 1


def test_rates_follow_a_scheduler(loop, hooks):
    trainer = simple(loop)
    scheduler = torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, lambda count: 1 / (1 + count))
    trainer.register_hooks([hooks.LRScheduler(trainer.optimizer, scheduler)])
    trainer.train(0, 4)
    written = [value for value, _ in trainer.storage.history("lr").values()]
    assert written == pytest.approx([0.1, 0.05, 0.1 / 3, 0.025])
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.02)


def test_the_group_whose_rate_is_shown(hooks):
    several = torch.optim.SGD(
        [
            {"params": [nn.Parameter(torch.ones(1))], "lr": 0.5},
            {"params": [nn.Parameter(torch.ones(1))], "lr": 0.1},
            {"params": [nn.Parameter(torch.ones(1))], "lr": 0.1},
        ],
        lr=1.0,
    )
    assert hooks.LRScheduler.get_best_param_group_id(several) == 1


def test_functions_as_hooks(loop, hooks):
    called = []
    points = ("before_train", "after_train", "before_step", "after_step")
    hook = hooks.CallbackHook(
        **{point: lambda trainer, at=point: called.append((at, trainer.iter)) for point in points}
    )
    trainer = simple(loop)
    trainer.register_hooks([hook, hooks.CallbackHook()])
    trainer.train(0, 1)
    assert called == [("before_train", 0), ("before_step", 0), ("after_step", 0), ("after_train", 1)]


def test_statistics_are_made_precise(loop, hooks):
    """Before an evaluation the running statistics become those of the weights as they are."""

    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = nn.BatchNorm1d(3)

        def forward(self, x):
            return {"loss": self.bn(x).sum()}

    data = [torch.full((2, 3), float(value)) + torch.tensor([[-1.0], [1.0]]) for value in range(4)]
    model = Norm()
    trainer = simple(loop, model, iter([data[0]] * 10))
    trainer.register_hooks([hooks.PreciseBN(3, model, data, num_iter=4)])
    trainer.train(0, 3)
    assert torch.allclose(model.bn.running_mean, torch.full((3,), 1.5))


def test_times_are_taken(loop, hooks):
    trainer = simple(loop)
    trainer.register_hooks([hooks.IterationTimer(warmup_iter=2)])
    trainer.train(0, 6)
    assert [iteration for _, iteration in trainer.storage.history("time").values()] == [1, 2, 3, 4, 5]


def test_memory_and_profiles_without_a_gpu(loop, hooks, tmp_path):
    trainer = simple(loop)
    with pytest.warns(Warning, match="TorchProfiler"):
        autograd = hooks.AutogradProfiler(lambda trainer: trainer.iter == 1, str(tmp_path / "autograd"), use_cuda=False)
    trainer.register_hooks(
        [
            hooks.TorchMemoryStats(period=1, max_runs=1),
            autograd,
            hooks.TorchProfiler(
                lambda trainer: trainer.iter == 2,
                str(tmp_path / "profiler"),
                activities=[torch.profiler.ProfilerActivity.CPU],
            ),
        ]
    )
    trainer.train(0, 4)
    assert len(os.listdir(tmp_path / "autograd")) == 1
    assert os.path.isdir(tmp_path / "profiler")
