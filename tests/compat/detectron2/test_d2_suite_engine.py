"""What detectron2's users rely on in its trainers, through ``import detectron2``."""

import gc
import logging
import math
from unittest import mock

import pytest
import torch
from d2_suite import Model, batches, simple


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
