"""What hooks of the code-first trainer see, call by call: written down from detectron2's documented loop::

before_train
for iter in range(start_iter, max_iter):
    before_step, run_step (with after_backward between backward and the optimizer's step), after_step
after_train, whatever has happened
"""

import logging

import pytest
import torch
from torch import nn

from trainwright.base.errors import DataError
from trainwright.trainer import HookBase, SimpleTrainer, TrainerBase, get_event_storage


class Note(HookBase):
    """Notes its calls as (event, trainer.iter, storage.iter); ``act(event, trainer)`` is called after each."""

    def __init__(self, calls, name=None, act=None):
        self.calls, self.name, self.act = calls, name, act

    def _note(self, event):
        storage = self.trainer.storage
        assert get_event_storage() is storage
        self.calls.append((*([self.name] if self.name else []), event, self.trainer.iter, storage.iter))
        if self.act is not None:
            self.act(event, self.trainer)

    def before_train(self):
        self._note("before_train")

    def before_step(self):
        self._note("before_step")

    def after_backward(self):
        self._note("after_backward")

    def after_step(self):
        self._note("after_step")

    def after_train(self):
        self._note("after_train")


class Bare(TrainerBase):
    """A run_step that says that it was called, and raises at one iteration."""

    def __init__(self, calls, fail_at=None):
        super().__init__()
        self.calls, self.fail_at = calls, fail_at

    def run_step(self):
        self.calls.append(("run_step", self.iter, self.storage.iter))
        if self.iter == self.fail_at:
            raise ArithmeticError("the step fails")


def at(event, n):
    return (event, n, n)


def steps(start, end, *inside):
    """The calls of whole iterations."""
    return [at(event, n) for n in range(start, end) for event in ("before_step", *inside, "after_step")]


def run(act=None, fail_at=None, start=0, end=3):
    calls = []
    trainer = Bare(calls, fail_at)
    trainer.register_hooks([Note(calls, act=act)])
    trainer.train(start, end)
    return calls


def raising(at_event, n, error=ArithmeticError):
    def act(event, trainer):
        if (event, trainer.iter) == (at_event, n):
            raise error("the hook fails")

    return act


@pytest.mark.parametrize(("start", "end"), [(0, 3), (5, 7), (2, 3)])
def test_a_whole_run(start, end):
    """after_train sees iter == max_iter, by which it knows that training has come to its end."""
    body = steps(start, end, "run_step")
    assert run(start=start, end=end) == [at("before_train", start), *body, at("after_train", end)]


def test_nothing_to_do():
    events = [event for event, *_ in run(start=3, end=3)]
    assert events == ["before_train", "after_train"]


def calls_until_raised(error=ArithmeticError, **settings):
    calls = []
    trainer = Bare(calls, settings.get("fail_at"))
    trainer.register_hooks([Note(calls, act=settings.get("act"))])
    with pytest.raises(error):
        trainer.train(0, 3)
    return calls


UNTIL = {
    "before_train": [at("before_train", 0)],
    "before_step": [at("before_train", 0), *steps(0, 1, "run_step"), at("before_step", 1)],
    "after_step": [at("before_train", 0), *steps(0, 2, "run_step")],
}


@pytest.mark.parametrize("error", [ArithmeticError, KeyboardInterrupt])
@pytest.mark.parametrize("event", UNTIL)
def test_a_hook_that_raises(event, error):
    """after_train follows at once, with the iteration that failed."""
    n = 0 if event == "before_train" else 1
    assert calls_until_raised(error, act=raising(event, n, error)) == [*UNTIL[event], at("after_train", n)]


def test_a_hook_that_raises_stop_iteration_is_no_end_of_data():
    assert calls_until_raised(StopIteration, act=raising("after_step", 1, StopIteration))[-1] == at("after_train", 1)


def test_a_step_that_raises():
    expected = [at("before_train", 0), *steps(0, 1, "run_step"), at("before_step", 1), at("run_step", 1)]
    assert calls_until_raised(fail_at=1) == [*expected, at("after_train", 1)]


def test_a_failing_after_train_comes_from_a_run_that_was_well():
    calls = calls_until_raised(act=raising("after_train", 3))
    assert calls == [at("before_train", 0), *steps(0, 3, "run_step"), at("after_train", 3)]


def test_hooks_of_an_event_are_called_in_the_order_of_their_registration():
    """None is skipped; one that raises ends the round of that event, and each of them gets its after_train."""
    calls = []
    trainer = Bare([])
    trainer.register_hooks([Note(calls, "one"), None, Note(calls, "two", raising("before_step", 1))])
    trainer.register_hooks([Note(calls, "three")])
    with pytest.raises(ArithmeticError):
        trainer.train(0, 3)
    rounds = [("before_train", 0), ("before_step", 0), ("after_step", 0)]
    whole = [(name, event, n, n) for event, n in rounds for name in ("one", "two", "three")]
    cut = [("one", "before_step", 1, 1), ("two", "before_step", 1, 1)]
    assert calls == [*whole, *cut, *((name, "after_train", 1, 1) for name in ("one", "two", "three"))]


def test_the_failing_iteration_is_logged(caplog):
    with caplog.at_level(logging.INFO), pytest.raises(ArithmeticError):
        Bare([], fail_at=1).train(0, 3)
    assert any("0" in record.getMessage() for record in caplog.records)  # where it starts
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.levelno == logging.ERROR
    assert isinstance(record.exc_info[1], ArithmeticError)


def test_max_iter_set_by_a_hook_is_no_end():
    """Neither is it in detectron2, whose range was made before."""

    def act(event, trainer):
        if event == "after_step" and trainer.iter == 0:
            trainer.max_iter = 1

    events = [event for event, *_ in run(act=act)]
    assert events.count("run_step") == 3


def test_trained_again():
    """Counters go on from start_iter; the storage is another one."""
    calls = []
    trainer = Bare([])
    trainer.register_hooks([Note(calls)])
    trainer.train(0, 1)
    first = trainer.storage
    trainer.train(1, 2)
    assert trainer.storage is not first
    assert calls == [
        *[at("before_train", 0), *steps(0, 1), at("after_train", 1)],
        *[at("before_train", 1), *steps(1, 2), at("after_train", 2)],
    ]


# SimpleTrainer: what is there at each event ---------------------------------------------------------------------------


class Square(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0]))

    def forward(self, x):
        return {"loss_square": (self.w * x).square().sum(), "loss_size": self.w.abs().sum()}


def simple(batches, **settings):
    model = Square()
    return SimpleTrainer(model, batches, torch.optim.SGD(model.parameters(), lr=0.125), **settings)


def test_a_step_of_the_simple_trainer():
    """Gradients are there in after_backward, and the weights are still the old ones; in after_step both are new."""
    seen = []

    def act(event, trainer):
        gradient = trainer.model.w.grad
        seen.append((event, trainer.iter, trainer.model.w.item(), None if gradient is None else gradient.item()))

    trainer = simple([torch.tensor([1.0]), torch.tensor([2.0])])
    trainer.register_hooks([Note([], act=act)])
    trainer.train(0, 2)
    w1 = 1 - 0.125 * 3  # gradient 2 w x^2 + 1
    g2 = 2 * w1 * 4 + 1
    assert seen == [
        ("before_train", 0, 1.0, None),
        ("before_step", 0, 1.0, None),
        ("after_backward", 0, 1.0, 3.0),
        ("after_step", 0, w1, 3.0),
        ("before_step", 1, w1, 3.0),
        ("after_backward", 1, w1, g2),
        ("after_step", 1, w1 - 0.125 * g2, g2),
        ("after_train", 2, w1 - 0.125 * g2, g2),
    ]


def test_losses_are_in_the_storage_in_after_step():
    seen = []

    def act(event, trainer):
        if event == "after_step":
            latest = trainer.storage.latest()
            seen.append({name: latest[name] for name in ("loss_square", "loss_size", "total_loss")})
            assert latest["data_time"][0] >= 0

    trainer = simple([torch.tensor([1.0]), torch.tensor([2.0])])
    trainer.register_hooks([Note([], act=act)])
    trainer.train(0, 2)
    w1 = 1 - 0.125 * 3
    assert seen == [
        {"loss_square": (1.0, 0), "loss_size": (1.0, 0), "total_loss": (2.0, 0)},
        {"loss_square": (4 * w1 * w1, 1), "loss_size": (w1, 1), "total_loss": (4 * w1 * w1 + w1, 1)},
    ]


def test_data_that_runs_out_ends_training_with_an_error():
    """What can be read only once; a loader is begun again."""
    calls = []
    trainer = simple(iter([torch.tensor([1.0])]))
    trainer.register_hooks([Note(calls)])
    with pytest.raises(DataError):
        trainer.train(0, 3)
    assert calls[-2:] == [at("before_step", 1), at("after_train", 1)]


def test_a_loss_that_is_not_finite():
    """It is found when it is read, here at the end, and is told with its iteration; that end is no success."""
    calls = []
    trainer = simple([torch.tensor([1.0]), torch.tensor([float("inf")])])
    trainer.register_hooks([Note(calls)])
    with pytest.raises(FloatingPointError, match="iteration=1"):
        trainer.train(0, 3)
    event, n, _ = calls[-1]
    assert event == "after_train"
    assert n < trainer.max_iter


def test_taken_up_again():
    """Iteration n was finished when the state was taken in after_step of n; resuming begins with n + 1."""
    states = []

    class Saver(HookBase):
        def after_step(self):
            if self.trainer.iter == 1:
                states.append(self.trainer.state_dict())

    calls = []
    trainer = simple([torch.tensor([1.0])] * 9)
    trainer.register_hooks([Saver()])
    trainer.train(0, 2)
    again = simple([torch.tensor([1.0])] * 9)
    again.register_hooks([Note(calls)])
    again.load_state_dict(states[0])
    assert states[0]["iteration"] == again.iter == 1
    again.train(again.iter + 1, 4)
    assert calls == [at("before_train", 2), *steps(2, 4, "after_backward"), at("after_train", 4)]


def test_hooks_with_a_state():
    """By the name of their class; one without a state is not in it, and one that is gone is told of."""

    class Counter(HookBase):
        def __init__(self):
            self.n = 0

        def after_step(self):
            self.n += 1

        def state_dict(self):
            return {"n": self.n}

        def load_state_dict(self, state):
            self.n = state["n"]

    trainer = Bare([])
    trainer.register_hooks([Counter(), HookBase()])
    trainer.train(0, 2)
    state = trainer.state_dict()
    assert state["hooks"] == {Counter.__qualname__: {"n": 2}}
    again, counter = Bare([]), Counter()
    again.register_hooks([counter])
    again.load_state_dict(state)
    assert counter.n == 2


def test_the_trainer_of_a_hook_is_a_weak_one():
    """No circle keeps a trainer alive."""
    import gc
    import weakref

    hook = Note([])
    trainer = Bare([])
    trainer.register_hooks([hook])
    assert isinstance(hook.trainer, weakref.ProxyTypes)
    gone = weakref.ref(trainer)
    del trainer
    gc.collect()
    assert gone() is None
