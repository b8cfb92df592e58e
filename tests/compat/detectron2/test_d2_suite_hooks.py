"""What detectron2's users rely on in its hooks and checkpoints, through ``import detectron2``."""

import json
import logging
import math
import os
from unittest import mock

import pytest
import torch
from d2_suite import Model, batches, simple
from torch import nn

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
