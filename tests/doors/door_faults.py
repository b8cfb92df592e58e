"""The harness of the fault suite for trainings that come through the other two doors."""

from __future__ import annotations

import os
import re
import time
from functools import partial
from pathlib import Path
from typing import Any

from harness import Child, SharedCounter, in_child
from kills import Trial, names_in
from saves import After, Before
from torch import nn

from doors import DOORS, Job
from trainwright.base.errors import CheckpointError
from trainwright.checkpoint import CheckpointManager, read_checkpoint

ITERS, PER_EPOCH = 8, 2
# What a kill after the last iteration leaves: a training that is done is not gone on with, so nobody saves or deletes.
LEFT = re.compile(r"model_(final|0000006)\.pth|(epoch_3|iter_7)\.pth|\.tmp-(model_final|last_checkpoint).*")


def train(door: str, folder: Path, **changes: Any) -> None:
    """Begin, or go on, and train to the end; saves after each iteration, or epoch where the door counts those."""
    settings: dict[str, Any] = {"n_iters": ITERS, "per_epoch": PER_EPOCH, "keep": 1, "resume_from": "latest"}
    DOORS[door](Job(folder, **{**settings, **changes}))


class DoorWork:
    """The checkpoints of a folder, as a new run through that door would find them; as harness.Work."""

    def __init__(self, door: str) -> None:
        self.door = door

    def find(self, folder: str | os.PathLike[str]) -> str | None:
        """The path of the latest checkpoint in a folder: what latest.pth leads to, where there is that."""
        if self.door == "SimpleTrainer":
            from trainwright.trainer import Checkpointer

            return Checkpointer(nn.Identity(), folder).get_checkpoint_file() or None
        link = os.path.join(folder, "latest.pth")
        return os.path.realpath(link) if os.path.islink(link) else CheckpointManager(os.fspath(folder)).latest()

    def direct(self, path: str) -> dict[str, Any]:
        """The content of a checkpoint; ``meta.iter`` is the number of finished iterations, whatever the door."""
        tree = read_checkpoint(path)
        if self.door != "SimpleTrainer":
            tree["meta"]["iter"] = tree["trainwright"]["progress"][1]
            # In the first save after a resume these are older: a checkpoint is named in the one after it, and what
            # waits for a line of the log is begun anew between epochs.
            messages = tree["meta"].pop("hook_msgs", {})
            tree["messages"] = {name: value for name, value in messages.items() if name != "last_ckpt"}
            tree["trainwright"].pop("log_buffer", None)
        return tree

    def read(self, path: str) -> dict[str, Any]:
        """The same; an AssertionError when it cannot be read after all."""
        try:
            return self.direct(path)
        except CheckpointError as error:
            raise AssertionError(f"the latest checkpoint cannot be read: {error}") from error


def trial_of(folder: Path, door: str) -> Trial:
    """A training to be killed."""

    def start(work_dir: Path, counter: SharedCounter) -> list[Child]:
        def safe(n: int) -> None:
            counter.value = max(counter.value, n)

        return [Child(partial(train, door, work_dir, after_save=safe))]

    train(door, folder / "warm")  # here: what is imported is there in all children
    begun = time.monotonic()
    in_child(partial(train, door, folder / "whole"))
    seconds = time.monotonic() - begun
    work = DoorWork(door)
    path = work.find(folder / "whole")
    assert path is not None
    names = names_in(folder / "whole")
    return Trial(start, work, work.read(path), seconds, names, LEFT.fullmatch)  # type: ignore[arg-type]


def run_to_save(door: str, folder: Path, at: int, before: Before, after: After) -> None:
    """For saves.at_a_save: train to the save after iteration ``at``."""

    def begin(n: int) -> None:
        if n == at:
            before.then()

    def end(n: int) -> None:
        after.saved(str(n))
        if after.then is not None:
            after.then()

    train(door, folder, n_iters=at + 1, resume_from=None, link=False, before_save=begin, after_save=end)
