"""Trainings that are killed at random moments and started again, until they are done."""

from __future__ import annotations

import os
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import Child, SharedCounter, TellSaved, Work, in_child, same_training, small_config, train


@dataclass
class Report:
    """What became of them."""

    n_kills: int = 0
    n_completed: int = 0
    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)  # how those that were struck ended
    unreadable: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """All that should not be."""
        return self.unreadable + self.lost + self.different


Strike = Callable[[Child, random.Random], None]


def sigkill(child: Child, draw: random.Random) -> None:
    """The end, at once."""
    child.kill()


Start = Callable[[Path, SharedCounter], list[Child]]


@dataclass
class Trial:
    """A training: `start` begins or resumes it in a folder as one or several processes, `work` reads what it leaves.

    Without any kill it takes `seconds`, ends with the checkpoint `reference`, and leaves files of these `names`. Those
    that `may_differ` may be more or fewer, where a kill came when all iterations were done.
    """

    start: Start
    work: Work
    reference: dict[str, Any]
    seconds: float
    names: list[str]
    may_differ: Callable[[str], object] = lambda name: False

    def leaves(self, names: list[str]) -> bool:
        """Whether that is what it leaves."""
        return not any(not self.may_differ(name) for name in set(names) ^ set(self.names))


def names_in(folder: Path) -> list[str]:
    """What lies in a work_dir, but for logs."""
    return sorted(path.name for path in folder.iterdir() if not path.name[0].isdigit())


def one_process(folder: Path, layout: str, **settings: Any) -> Trial:
    """A small training in one process that saves after every iteration."""

    def start(work_dir: Path, counter: SharedCounter) -> list[Child]:
        hooks = [TellSaved(counter)]
        return [Child(train, small_config(work_dir, layout, custom_hooks=hooks, **settings))]

    work = Work(small_config(folder / "reader", layout))
    train(small_config(folder / "warm", layout, **settings))  # here: what is imported is there in all children
    begun = time.monotonic()
    path = in_child(train, small_config(folder / "whole", layout, **settings))
    assert path is not None
    seconds = time.monotonic() - begun
    return Trial(start, work, work.read(path), seconds, names_in(folder / "whole"))


RANKS = 2
_SPARED = 0.15  # of the resumed processes are left to end


def two_ranks(folder: Path, strategy: str, layout: str, **settings: Any) -> Trial:
    """The same in two processes that train together; they are strict about the same bits each time."""
    settings = {"randomness": {"seed": 1, "deterministic": True}, "strategy": {"type": strategy}, **settings}
    train_apart(folder / "warm", layout)

    def start(work_dir: Path, counter: SharedCounter) -> list[Child]:
        store = work_dir.with_name(f"store_{uuid.uuid4().hex}")
        work_dir.parent.mkdir(parents=True, exist_ok=True)
        hooks = [TellSaved(counter)]
        return [
            Child(_train_rank, rank, store, small_config(work_dir, layout, custom_hooks=hooks, **settings))
            for rank in range(RANKS)
        ]

    def whole(name: str) -> float:
        begun = time.monotonic()
        for child in start(folder / name, SharedCounter()):
            child.result()
        return time.monotonic() - begun

    seconds = min(whole("first"), whole("whole"))
    work = Work(small_config(folder / "reader", layout))
    path = work.find(folder / "whole")
    assert path is not None
    return Trial(start, work, work.read(path), seconds, names_in(folder / "whole"))


def train_apart(work_dir: Path, layout: str) -> None:
    """Train in this process, so that all that is imported for it is there when ranks are forked."""
    import torch._dynamo
    import torch.distributed.fsdp  # noqa: F401

    train(small_config(work_dir, layout))


def _train_rank(rank: int, store: Path, config: dict[str, Any]) -> None:
    from torch import distributed

    os.environ.update(RANK=str(rank), WORLD_SIZE=str(RANKS), LOCAL_RANK=str(rank))
    distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=RANKS)
    distributed.barrier()
    train(config)
    distributed.destroy_process_group()


def kill_again_and_again(folder: Path, trial: Trial, n_kills: int, seed: int, strike: Strike = sigkill) -> Report:
    """Train in one folder after the other. Each training is killed at random moments and resumed until it is done; some
    of its processes are left to end. Of several processes a random one is killed, and the others must end by themselves
    or are ended. `strike` may do something else to that process, such as sending it signals, of which it ends soon."""
    draw = random.Random(seed)
    report = Report()
    begun = time.monotonic()
    while report.n_kills < n_kills:
        work_dir = folder / f"run_{report.n_completed}"
        safe = 0
        while True:
            counter = SharedCounter()
            children = trial.start(work_dir, counter)
            victim = draw.choice(children)
            is_spared, delay = draw.random() < _SPARED, draw.uniform(0.0, 0.7 * trial.seconds)
            is_done = is_spared or report.n_kills == n_kills or victim.ended(delay)
            if not is_done:
                strike(victim, draw)
                report.n_kills += 1
            _finish(children, killed=None if is_done else victim)
            if not is_done:
                report.statuses[victim.status or 0] += 1
            safe = max(safe, counter.value)
            tree = _check(trial, work_dir, safe, report)
            if tree is not None:
                safe = max(safe, int(tree["meta"]["iter"]))
            if is_done:
                report.n_completed += 1
                report.different += same_training(tree or {}, trial.reference)[:1]
                if not trial.leaves(names_in(work_dir)):
                    report.different.append(f"{work_dir} has {names_in(work_dir)} instead of {trial.names}")
                break
    report.seconds = time.monotonic() - begun
    return report


def _finish(children: list[Child], killed: Child | None) -> None:
    """Wait until all have ended: well, or because one of them was killed."""
    if killed is None:
        for child in children:
            child.result()
        return
    assert killed.ended()
    for child in children:
        if not child.ended(0.2):  # it waits for the dead one, or has not noticed: whoever starts ranks ends them
            child.kill()
            assert child.ended()


def _check(trial: Trial, work_dir: Path, safe: int, report: Report) -> dict[str, Any] | None:
    path = trial.work.find(work_dir)
    if path is None:
        if safe:
            report.lost.append(f"{work_dir.name}: nothing is left, and iteration {safe} was safe")
        return None
    try:
        tree = trial.work.read(path)
    except AssertionError as error:
        report.unreadable.append(str(error))
        return None
    at = int(tree["meta"]["iter"])
    if at < safe:
        report.lost.append(f"{path}: it is of iteration {at}, and {safe} was safe")
    return tree
