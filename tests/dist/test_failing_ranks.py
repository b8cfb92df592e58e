"""One of several ranks fails, in whatever it does, or is gone: all end within seconds, and say which one it was."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from trainwright import Runner, dist
from trainwright.base.errors import RankError
from trainwright.dist import together
from trainwright.engine import Event, Hook
from trainwright.testing.rank_runs import EVERY_2, train_toy
from trainwright.testing.ranks import run_alone, run_ranks
from trainwright.testing.toys import ToyModel, toy_config, toy_loader

DDP = {"type": "DDPStrategy"}
LIMIT_S = 10.0


class FailAt(Hook):
    """Fails on rank 1 at one event, in its own way."""

    def __init__(self, event: Event, how: str = "raise") -> None:
        setattr(self, event.value, self._fail)
        self.event, self.how = event, how

    def _fail(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        if runner.rank == 1:
            end(self.how)


def end(how: str) -> None:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "exit":
        os._exit(3)
    raise KeyboardInterrupt if how == "interrupt" else ArithmeticError("of rank 1 alone")


def hook_at(event: Event, how: str = "raise") -> Hook:
    """A hook that overrides one event."""
    return type("FailHook", (FailAt,), {event.value: FailAt._fail})(event, how)


class FailingModel(ToyModel):
    """Fails on rank 1 in a step of training or of validation."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, inputs: Any, label: Any = None, mode: str = "tensor") -> Any:
        """Fail, or go on."""
        if mode == self.mode and dist.get_rank() == 1:
            end("raise")
        return super().forward(inputs, label, mode)


def outcome(work: Any) -> tuple[str, str, float]:
    began = time.monotonic()
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - which one it is, is the question
        return type(error).__name__, str(error), time.monotonic() - began
    return "", "", time.monotonic() - began


EVENTS = [event for event in Event if event not in (
    Event.BEFORE_TEST, Event.AFTER_TEST, Event.BEFORE_TEST_EPOCH, Event.AFTER_TEST_EPOCH, Event.BEFORE_TEST_ITER,
    Event.AFTER_TEST_ITER, Event.AFTER_LOAD_CHECKPOINT, Event.ON_EXCEPTION,
)]  # fmt: skip


def fail_in(folder: Path, cases: list[str]) -> list[tuple[str, str, float]]:
    """Each case by itself; the group outlives none that breaks a connection, so that there is one a group."""
    changes: dict[str, Any] = {"strategy": DDP, "default_hooks": EVERY_2}
    (case,) = cases
    if case in ("loss", "predict"):
        changes["model"] = FailingModel(case)
    elif case == "async":
        changes["default_hooks"] = {"checkpoint": {**EVERY_2["checkpoint"], "async_save": True}}
        changes["custom_hooks"] = [hook_at(Event.BEFORE_SAVE_CHECKPOINT)]
    elif case == "worker":
        changes["train_dataloader"] = toy_loader(16, 2, shuffle=False, fail_at=9, num_workers=1)
    else:
        event, _, how = case.partition(" ")
        changes["custom_hooks"] = [hook_at(Event(event), how or "raise")]
    return [outcome(lambda: train_toy(folder, **changes))]


def check_both(folder: Path, case: str) -> None:
    ((first, text, took),), ((second, own, _),) = run_ranks(2, fail_in, folder, [case])
    expected = {"worker": "DataError", "before_train_iter interrupt": "KeyboardInterrupt"}.get(case, "ArithmeticError")
    assert (second, first) == (expected, "RankError"), (case, text, own)
    assert text.startswith("rank 1 failed, and this one could not go on without it. The error of rank 1:\nTraceback")
    assert ("sample 9" if case == "worker" else expected) in text.splitlines()[-1] or case == "worker"
    assert took < LIMIT_S


@pytest.mark.parametrize("case", ["loss", "predict", "async", "worker", "before_train_iter interrupt"])
def test_what_fails_on_one_rank_ends_all_and_is_named(tmp_path: Path, case: str) -> None:
    check_both(tmp_path, case)


@pytest.mark.conformance
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.value)
def test_a_hook_that_fails_at_any_event_ends_all(tmp_path: Path, event: Event) -> None:
    check_both(tmp_path, event.value)


def die_in(folder: Path, how: str) -> tuple[str, str, float]:
    together.POLL_S = 0.2  # whoever runs the ranks here does not wait long for those that are left
    hooks = [hook_at(Event.BEFORE_TRAIN_ITER, how)]
    return outcome(lambda: train_toy(folder, strategy=DDP, custom_hooks=hooks))


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_a_rank_that_is_gone_is_named_by_the_others(tmp_path: Path, how: str) -> None:
    kept = tmp_path / "said"
    with pytest.raises(AssertionError, match="rank 1 failed:\nit ended without a result"):
        run_ranks(3, say, kept, die_in, tmp_path, how)
    for rank in (0, 2):
        name, text, took = (kept / str(rank)).read_text().split("\n", 2)
        assert name == RankError.__name__
        assert text.startswith("rank 1 is gone, and this one could not go on without it: the process ended without")
        assert float(took) < LIMIT_S


def say(kept: Path, func: Any, *args: Any) -> None:
    """What came of it goes to a file: the results of the others are not waited for when one is gone."""
    name, text, took = func(*args)
    kept.mkdir(exist_ok=True)
    (kept / str(dist.get_rank())).write_text(f"{name}\n{text}\n{took}")


def test_a_rank_that_ends_before_it_says_who_is_gone_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    store = torch.distributed.HashStore()
    for name, value in (("POLL_S", 0.01), ("group_store", lambda: store), ("get_rank", lambda: 1)):
        monkeypatch.setattr(together, name, value)
    monkeypatch.setattr(together, "get_world_size", lambda: 2)
    monkeypatch.setattr(together, "_numbers", iter([7]))
    store.set("trainwright/failed/7", json.dumps({"rank": 0, "trace": "Traceback of rank 0"}))
    with (
        pytest.raises(RankError, match="rank 0 failed, and this one could not go on without it"),
        together.failing_together(),
    ):
        raise RuntimeError("Connection closed by peer")


def build(folder: Path) -> tuple[str, str, float]:
    return outcome(lambda: Runner.from_cfg(toy_config(folder, strategy=DDP, model={"type": BuiltOnOne})))


class BuiltOnOne(ToyModel):
    """Cannot be built on rank 1."""

    def __init__(self, data_preprocessor: Any = None) -> None:
        if dist.get_rank() == 1:
            raise ArithmeticError("of rank 1 alone")
        super().__init__(data_preprocessor=data_preprocessor)


def test_a_model_that_one_rank_cannot_build_ends_all(tmp_path: Path) -> None:
    (first, text, took), (second, _, _) = run_ranks(2, build, tmp_path)
    assert (second, first) == ("ArithmeticError", "RankError")
    assert "The error of rank 1:\nTraceback" in text
    assert took < LIMIT_S


def waits_for_what_never_comes():
    threading.Event().wait()


def test_a_rank_that_hangs_shows_where():
    with pytest.raises(TimeoutError, match=r"ranks \[0\] gave no result within 1\.0 s") as error:
        run_alone(waits_for_what_never_comes, timeout_s=1.0)
    assert "rank 0 is here:" in str(error.value)
    assert "in waits_for_what_never_comes" in str(error.value)
