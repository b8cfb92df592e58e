"""The loop with hooks: what is called when, what a failure does, and what a trainer inside a trainer does."""

from __future__ import annotations

import gc
import logging
import re
import weakref
from typing import Any

import pytest

from trainwright.trainer import CallbackHook, HookBase, TrainerBase

POINTS = ("before_train", "after_train", "before_step", "after_backward", "after_step")


class Recording(HookBase):
    """Writes down every call with the counters of its moment."""

    def __init__(self, log: list[Any], name: str = "hook") -> None:
        self.log, self.name = log, name

    def _note(self, point: str) -> None:
        self.log.append((self.name, point, self.trainer.iter, self.trainer.storage.iter))


for _point in POINTS:
    setattr(Recording, _point, lambda self, point=_point: self._note(point))


class Counting(TrainerBase):
    """A step that does nothing but say so."""

    def __init__(self, fails_at: int | None = None) -> None:
        super().__init__()
        self.steps: list[int] = []
        self.fails_at = fails_at

    def run_step(self) -> None:
        if self.iter == self.fails_at:
            raise KeyError("the step")
        self.steps.append(self.iter)
        self.after_backward()


def test_the_order_of_a_plain_run() -> None:
    log: list[Any] = []
    trainer = Counting()
    trainer.register_hooks([Recording(log, "a"), None, Recording(log, "b")])
    trainer.train(3, 5)
    step = ("before_step", "after_backward", "after_step")
    points = [("before_train", 3), *((point, at) for at in (3, 4) for point in step), ("after_train", 5)]
    assert log == [(name, point, at, at) for point, at in points for name in ("a", "b")]
    assert trainer.steps == [3, 4]
    assert (trainer.start_iter, trainer.iter, trainer.max_iter) == (3, 5, 5)


def test_no_iteration_at_all_is_a_success() -> None:
    log: list[Any] = []
    trainer = Counting()
    trainer.register_hooks([Recording(log)])
    trainer.train(5, 5)
    assert [point for _, point, *_ in log] == ["before_train", "after_train"]


@pytest.mark.parametrize(
    ("start", "end", "said"), [(0, None, "max_iter=None"), (0, 1e5, "max_iter=100000.0"), ("1", 2, "start_iter='1'")]
)
def test_iterations_are_whole_numbers(start: Any, end: Any, said: str) -> None:
    with pytest.raises(TypeError, match=re.escape(f"needs whole numbers, start_iter and max_iter, but got {said}")):
        Counting().train(start, end)


def test_a_failure_is_logged_and_raised_and_after_train_runs(caplog: pytest.LogCaptureFixture) -> None:
    log: list[Any] = []
    trainer = Counting(fails_at=1)
    trainer.register_hooks([Recording(log)])
    with caplog.at_level(logging.INFO, "trainwright.trainer"), pytest.raises(KeyError, match="the step"):
        trainer.train(0, 3)
    assert [point for _, point, *_ in log[-2:]] == ["before_step", "after_train"]
    assert trainer.iter == 1  # after_train can tell that it failed
    start, failure = caplog.records
    assert start.getMessage() == "Starting training from iteration 0"
    assert failure.getMessage() == "Exception during training:"
    assert failure.exc_info is not None
    assert "the step" in str(failure.exc_info[1])
    trainer.fails_at = None
    trainer.train(1, 3)  # the same trainer goes on
    assert trainer.steps == [0, 1, 2]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_after_train_runs_after_an_interrupt_too(error: type[BaseException]) -> None:
    log: list[Any] = []
    trainer = Counting()

    def interrupt(_: Any) -> None:
        raise error

    trainer.register_hooks([Recording(log), CallbackHook(after_step=interrupt)])
    with pytest.raises(error):
        trainer.train(0, 3)
    assert log[-1][:3] == ("hook", "after_train", 0)


def test_after_train_runs_where_before_train_has_failed() -> None:
    class Broken(HookBase):
        def before_train(self) -> None:
            raise ValueError("no")

    log: list[Any] = []
    trainer = Counting()
    trainer.register_hooks([Recording(log), Broken()])
    with pytest.raises(ValueError, match="no"):
        trainer.train(0, 3)
    assert [point for _, point, *_ in log] == ["before_train", "after_train"]


def test_every_hook_is_told_of_the_end_although_one_fails_there() -> None:
    class Broken(HookBase):
        def after_train(self) -> None:
            raise ValueError("at the end")

    log: list[Any] = []
    trainer = Counting()
    trainer.register_hooks([Broken(), Recording(log)])
    with pytest.raises(ValueError, match="at the end"):
        trainer.train(0, 1)
    assert log[-1][1] == "after_train"


def test_what_a_subclass_overrides_is_called_and_calls_the_hooks() -> None:
    log: list[Any] = []

    class Own(Counting):
        pass

    def method(point: str) -> Any:
        def call(self: Any) -> None:
            log.append(("own", point))
            getattr(super(Own, self), point)()

        return call

    for point in POINTS:
        setattr(Own, point, method(point))
    trainer = Own()
    trainer.register_hooks([Recording(log)])
    trainer.train(0, 1)
    order = ("before_train", "before_step", "after_backward", "after_step", "after_train")
    assert [entry[:2] for entry in log] == [(who, point) for point in order for who in ("own", "hook")]


def test_a_method_that_is_replaced_on_the_object_is_called_too() -> None:
    trainer, log = Counting(), []
    trainer.after_step = lambda: log.append(trainer.iter)  # type: ignore[method-assign]
    trainer.train(0, 2)
    assert log == [0, 1]


def test_a_trainer_inside_a_trainer() -> None:
    """As detectron2's DefaultTrainer does it: hooks are the outer one's, the step is the inner one's."""
    log: list[Any] = []

    class Outer(TrainerBase):
        def __init__(self) -> None:
            super().__init__()
            self._trainer = Counting()

        def run_step(self) -> None:
            self._trainer.iter = self.iter
            self._trainer.run_step()

        def state_dict(self) -> dict[str, Any]:
            return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    trainer = Outer()
    saved: list[dict[str, Any]] = []
    trainer.register_hooks([Recording(log), CallbackHook(after_step=lambda t: saved.append(t.state_dict()))])
    trainer.train(0, 2)
    assert [entry[1:3] for entry in log if entry[1] == "after_backward"] == [
        ("after_backward", 0),
        ("after_backward", 1),
    ]
    assert trainer._trainer.steps == [0, 1]
    assert [(state["iteration"], state["_trainer"]["iteration"]) for state in saved] == [(0, 0), (1, 1)]
    assert [state["_trainer"]["exact"]["finished_iters"] for state in saved] == [1, 2]


def test_hooks_may_be_put_in_another_order_by_hand() -> None:
    log: list[Any] = []
    trainer = Counting()
    trainer.register_hooks([Recording(log, "a"), Recording(log, "b")])
    trainer._hooks = trainer._hooks[::-1]
    trainer._hooks.append(Recording(log, "c"))
    trainer._hooks[-1].trainer = trainer._hooks[0].trainer
    trainer.train(0, 0)
    assert [name for name, *_ in log] == ["b", "a", "c", "b", "a", "c"]


def test_a_point_that_is_not_overridden_is_not_called() -> None:
    trainer = Counting()
    trainer.register_hooks([HookBase(), CallbackHook()])
    assert [len(methods) for methods in trainer._table.methods.values()] == [1] * 5  # those of CallbackHook


def test_what_is_no_hook_is_refused_and_nothing_is_registered() -> None:
    trainer = Counting()
    with pytest.raises(TypeError, match="takes a list of HookBase objects and None, but got a function"):
        trainer.register_hooks([CallbackHook(), lambda: None])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="but got the class CallbackHook itself"):
        trainer.register_hooks([CallbackHook])  # type: ignore[list-item]
    assert trainer._hooks == []


def test_a_method_that_looks_like_a_point_is_said(caplog: pytest.LogCaptureFixture) -> None:
    class Slip(HookBase):
        extra_points = ("after_lunch",)

        def after_iter(self) -> None:
            raise AssertionError("never called")

        def after_lunch(self) -> None:
            raise AssertionError("somebody's own")

    trainer = Counting()
    with caplog.at_level(logging.WARNING, "trainwright.trainer"):
        trainer.register_hooks([Slip()])
    trainer.train(0, 1)
    (record,) = caplog.records
    assert "Slip.after_iter looks like a hook point" in record.getMessage()
    assert "Did you mean" in record.getMessage()


def test_a_trainer_without_a_step_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"TrainerBase has no run_step\(\), which is what happens"):
        TrainerBase().train(0, 1)


def test_a_hook_can_end_training() -> None:
    log: list[Any] = []
    trainer = Counting()
    stop = CallbackHook(after_step=lambda t: t.iter == 1 and t.ctx.stop.request("enough"))
    trainer.register_hooks([Recording(log), stop])
    trainer.train(0, 5)
    assert trainer.steps == [0, 1]
    assert log[-1] == ("hook", "after_train", 2, 2)  # not max_iter


def test_the_trainer_dies_with_its_last_reference() -> None:
    trainer = Counting()
    hook = Recording([])
    trainer.register_hooks([hook])
    trainer.train(0, 2)
    gone = weakref.ref(trainer)
    gc.disable()
    try:
        del trainer
        assert gone() is None
    finally:
        gc.enable()
    with pytest.raises(ReferenceError):
        _ = hook.trainer.iter


class Stateful(HookBase):
    """A hook whose state is a number."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.number = state["number"]


class Other(Stateful):
    """Another class of them."""


def test_hooks_are_saved_by_class_and_loaded(caplog: pytest.LogCaptureFixture) -> None:
    trainer = Counting()
    trainer.register_hooks([Stateful(1), HookBase(), Other(2), Stateful(3)])
    trainer.train(0, 7)
    state = trainer.state_dict()
    assert state["iteration"] == 6  # the last one that was finished
    assert state["hooks"] == {"Stateful": {"number": 1}, "Other": {"number": 2}}

    resumed = Counting()
    resumed.register_hooks([Stateful(), Stateful()])
    with caplog.at_level(logging.WARNING, "trainwright.trainer"):
        resumed.load_state_dict(state)
    assert [hook.number for hook in resumed._hooks] == [1, 3]
    assert (resumed.iter, resumed.finished_iters) == (6, 7)
    assert "has 1 hook(s) Other, and this trainer 0 of them" in caplog.text


def test_a_state_of_detectron2_is_loaded() -> None:
    trainer = Counting()
    trainer.register_hooks([Stateful()])
    trainer.load_state_dict({"iteration": 4, "hooks": {"Stateful": {"number": 5}}})
    assert (trainer.iter, trainer.finished_iters, trainer._hooks[0].number) == (4, 5, 5)
    trainer.train(trainer.finished_iters, 6)
    assert trainer.steps == [5]


def test_beginning_elsewhere_than_the_state_is_said(caplog: pytest.LogCaptureFixture) -> None:
    trainer = Counting()
    trainer.train(0, 3)
    state = trainer.state_dict()
    other = Counting()
    other.load_state_dict(state)
    with caplog.at_level(logging.WARNING, "trainwright.trainer"):
        other.train(0, 1)
    assert "saved after 3 iterations, and training begins at 0" in caplog.text


def test_iter_can_be_set() -> None:
    trainer = Counting()
    trainer.iter = 7
    assert trainer.iter == 7
