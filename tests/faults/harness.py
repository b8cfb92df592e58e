"""Processes that may die: forked, so that nothing is imported again, and what is compared of what they leave."""

from __future__ import annotations

import mmap
import os
import pickle
import select
import signal
import struct
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import pytest

from trainwright.base.errors import CheckpointError
from trainwright.engine import Hook
from trainwright.runner import Runner
from trainwright.testing.toys import differences, toy_config, toy_loader

R = TypeVar("R")
FAILED = 70  # exit status of a child whose code raised
DEADLINE_S = 60.0


class Child:
    """A forked process that runs ``func(*args)`` and ends as if switched off: no exit handler, nothing flushed."""

    def __init__(self, func: Callable[..., Any], *args: Any) -> None:
        self._pipe, sender = os.pipe()
        self.pid = fork()
        if self.pid == 0:
            os.close(self._pipe)
            _run_and_exit(sender, func, args)
        os.close(sender)
        self.status: int | None = None
        self._sent = b""

    def kill(self) -> None:
        """SIGKILL; nothing when it is gone already."""
        self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Any signal."""
        if self.status is None:
            os.kill(self.pid, number)

    def ended(self, within_s: float = DEADLINE_S) -> bool:
        """Whether it has ended within that time; its status is known then."""
        end = time.monotonic() + within_s
        while self.status is None:
            left = max(end - time.monotonic(), 0.0)
            if select.select([self._pipe], [], [], left)[0]:
                data = os.read(self._pipe, 1 << 16)
                self._sent += data
                if not data:
                    self._reap()
            elif not left:
                return False
        return True

    def _reap(self) -> None:
        _, status = os.waitpid(self.pid, 0)
        os.close(self._pipe)
        self.status = os.waitstatus_to_exitcode(status)

    def result(self, within_s: float = DEADLINE_S) -> Any:
        """What the function returned. AssertionError with its traceback when it raised, or ended in another way."""
        if not self.ended(within_s):
            self.kill()
            self.ended()
            raise AssertionError(f"a child gave no result within {within_s} s")
        assert self.status != FAILED, f"a child failed:\n{self._sent.decode()}"
        assert self.status == 0, f"a child ended with status {self.status}"
        return pickle.loads(self._sent)


def in_child(func: Callable[..., R], *args: Any, within_s: float = DEADLINE_S) -> R:
    """``func(*args)`` in a process of its own."""
    result: R = Child(func, *args).result(within_s)
    return result


def fork() -> int:
    """As os.fork, without Python's warning of threads, of which the child has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _run_and_exit(pipe: int, func: Callable[..., Any], args: tuple[Any, ...]) -> NoReturn:
    try:
        sent, status = pickle.dumps(func(*args)), 0
    except BaseException:  # noqa: BLE001 - told to the parent
        sent, status = traceback.format_exc().encode(), FAILED
    finally:
        while sent:
            sent = sent[os.write(pipe, sent) :]
        os._exit(status)


class SharedCounter:
    """A number that a child sets and its parent reads, whenever the child dies."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)

    @property
    def value(self) -> int:
        number: int = struct.unpack("q", self._memory[:8])[0]
        return number

    @value.setter
    def value(self, number: int) -> None:
        self._memory[:8] = struct.pack("q", number)


class TellSaved(Hook):
    """Counts, where the parent sees it, how far the checkpoints reach that were said to be saved."""

    priority = "LOWEST"

    def __init__(self, counter: SharedCounter) -> None:
        self.counter = counter

    def after_save_checkpoint(self, runner: Any, path: str) -> None:
        """A saved checkpoint must be there from now on, whatever happens. Of several ranks the first one writes it."""
        if runner.rank == 0:
            self.counter.value = max(self.counter.value, runner.ctx.clock.as_completed().iter)


# a training that is small, real, and saves often ----------------------------------------------------------------------

LAYOUTS = ("file", "folder")
HALF_OF_LAYOUTS = ("file", pytest.param("folder", marks=pytest.mark.conformance))  # of tests that take long


def layout_settings(layout: str) -> dict[str, Any]:
    """Settings of CheckpointHook for a layout."""
    return {"file": {"layout": "file"}, "folder": {"layout": "folder"}}[layout]


def small_config(work_dir: Any, layout: str = "file", max_iters: int = 8, **changes: Any) -> dict[str, Any]:
    """Dropout, augmentation, a shuffled order, AdamW and a schedule: all that a resume can get wrong in one process."""
    hook = {"type": "CheckpointHook", "interval": 1, "by_epoch": False, **layout_settings(layout)}
    hook.update(changes.pop("checkpoint", {}))
    config = {
        "model": {"type": "ToyModel", "dropout": 0.3},
        "train_dataloader": toy_loader(18, 4, noise=0.3),
        "train_cfg": {"by_epoch": False, "max_iters": max_iters, "val_interval": 2},
        "val_dataloader": None,
        "val_cfg": None,
        "val_evaluator": None,
        "optim_wrapper": {"optimizer": {"type": "AdamW", "lr": 0.02}, "clip_grad": {"max_norm": 1.0}},
        "param_scheduler": {"type": "CosineAnnealingLR", "T_max": 8, "by_epoch": False},
        "default_hooks": {"checkpoint": hook},
        "resume": True,
        "log_level": "ERROR",
    }
    return toy_config(work_dir, **{**config, **changes})


VALIDATED = {
    "val_dataloader": toy_loader(6, 3, shuffle=False),
    "val_cfg": {},
    "val_evaluator": {"type": "Accuracy"},
}


def train(config: dict[str, Any]) -> str | None:
    """Train to the end; the path of the latest checkpoint."""
    runner = Runner.from_cfg(config)
    runner.train()
    return runner.checkpoints().latest()


# what they leave ------------------------------------------------------------------------------------------------------

# Times; and what waits to be deleted, which is more where a purge was cut off.
_VOLATILE = ("time", "experiment_name", "log_dirs", "cfg", "fingerprint", "eta", "doomed", "checkpoint/stall_s")


class Work:
    """The checkpoints of a work_dir, as a new run would find them."""

    def __init__(self, config: dict[str, Any]) -> None:
        runner = Runner.from_cfg(config)
        self._manager, self._read = runner.checkpoints, runner.strategy.read_tree

    def find(self, folder: str | os.PathLike[str]) -> str | None:
        """The path of the latest checkpoint in a folder."""
        return self._manager(os.fspath(folder)).latest()

    def read_with(self, read: Any) -> None:
        """Use another reader, to see whether what is wrong with it is found."""
        self._read = read

    @property
    def direct(self) -> Any:
        """What reads a checkpoint, with its own errors."""
        return self._read

    def read(self, path: str) -> dict[str, Any]:
        """The content of a checkpoint; an AssertionError when it cannot be read after all."""
        try:
            return self._read(path)
        except CheckpointError as error:
            raise AssertionError(f"the latest checkpoint cannot be read: {error}") from error


def settled(tree: Any) -> Any:
    """A checkpoint without what depends on the clock on the wall, and with the names only of paths."""
    if isinstance(tree, dict):
        return {k: settled(v) for k, v in tree.items() if k not in _VOLATILE and not str(k).endswith("time")}
    if isinstance(tree, (list, tuple)):
        return [settled(value) for value in tree]
    return os.path.basename(tree) if isinstance(tree, str) and os.path.isabs(tree) else tree


def same_training(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Where two checkpoints differ, bit for bit, but for times and places."""
    return differences(settled(one), settled(other))
