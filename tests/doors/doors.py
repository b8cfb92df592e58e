"""The same small training through each door, and in a bare loop."""

from __future__ import annotations

import copy
import logging
import os
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from trainwright.engine import Hook
from trainwright.optim import OptimWrapper
from trainwright.runner import Runner
from trainwright.testing.toys import ToyDataset, ToyModel

BATCH = 4
SEED = 5


@dataclass
class Job:
    """A training of ``n_iters`` iterations in ``folder``; ``resume_from`` is a checkpoint of the same door, or "latest"
    for what lies in the folder, if anything does.

    ``save_at``: after so many iterations a checkpoint is written, 0 for after each one, by a hook of the job's own.
    ``keep``: the hook of the door saves, after each iteration or epoch, and keeps so many; ``link``: MMCV's runners set
    the link latest.pth, too. ``seed`` decides the weights at the beginning and what the random streams draw.
    ``own_generator``: the loader shuffles by a generator of its own. ``is_endless``: SimpleTrainer gets a loader that
    does not end, as those of detectron2 are. ``validates``: MMCV's runners have a workflow with validation in it.
    ``before_save(n)`` and ``after_save(n)`` are called around the save after n iterations.
    """

    folder: Path
    n_iters: int = 10
    per_epoch: int = 5
    save_at: int | None = None
    keep: int | None = None
    link: bool = True
    resume_from: str | None = None
    seed: int = SEED
    n_workers: int = 0
    window: int = 1
    dropout: float = 0.3
    noise: float = 0.1
    own_generator: bool = True
    is_endless: bool = False
    validates: bool = False
    has_resumed: bool = False  # said by the door
    before_save: Callable[[int], None] = field(default=lambda n: None)
    after_save: Callable[[int], None] = field(default=lambda n: None)

    @property
    def n_epochs(self) -> int:
        """Passes over the data."""
        return -(-self.n_iters // self.per_epoch)

    def saves_after(self, n: int) -> bool:
        """Whether the hook of the job saves after n iterations."""
        return self.save_at is not None and self.save_at in (0, n)

    def parts(self, cls: type[ToyModel]) -> tuple[Any, torch.optim.Optimizer, DataLoader[Any]]:
        """Model, optimizer and loader, as a user builds them; the random streams are left at the seed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(self.seed)
        model = cls(dropout=self.dropout)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
        generator = torch.Generator().manual_seed(self.seed) if self.own_generator else None
        settings = {"num_workers": self.n_workers, "generator": generator}
        data = ToyDataset(self.per_epoch * BATCH, noise=self.noise)
        loader: DataLoader[Any] = DataLoader(data, BATCH, shuffle=True, **settings)
        return model, optimizer, loader

    def begin(self) -> None:
        """Called right before the first iteration, wherever training begins: all doors draw the same from here on."""
        if not self.has_resumed:
            seed_all(self.seed)


def seed_all(seed: int) -> None:
    """Python's, numpy's and torch's streams."""
    import random

    import numpy as np

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@dataclass
class Outcome:
    """What a training leaves."""

    losses: list[float]
    weights: dict[str, Any]
    optimizer: dict[str, Any]

    def compared(self) -> dict[str, Any]:
        """What must be the same, bit for bit."""
        return {"losses": self.losses, "weights": self.weights, "optimizer": self.optimizer}


def outcome(losses: list[Any], model: Any, optimizer: Any) -> Outcome:
    """Copies of what there is now."""
    model = getattr(model, "module", model)
    return Outcome([float(loss) for loss in losses], *copy.deepcopy((model.state_dict(), optimizer.state_dict())))


def path_of(folder: Path, n: int) -> str:
    """The checkpoint after n iterations, of any door."""
    found = sorted(path for path in folder.iterdir() if path.name in (f"iter_{n}.pth", f"model_{n - 1:07d}.pth"))
    assert len(found) == 1, sorted(path.name for path in folder.iterdir())
    return os.fspath(found[0])


# a bare loop ----------------------------------------------------------------------------------------------------------


def bare(job: Job) -> Outcome:
    """What all doors are compared with."""
    model, optimizer, loader = job.parts(ToyModel)
    model.train()
    job.begin()
    losses: list[Any] = []
    while len(losses) < job.n_iters:
        for batch in loader:
            loss = model(batch["inputs"], batch["label"], mode="loss")["loss"]
            if len(losses) % job.window == 0:
                optimizer.zero_grad()
            (loss / job.window).backward()
            losses.append(loss.detach())
            if len(losses) % job.window == 0:
                optimizer.step()
    return outcome(losses, model, optimizer)


# Runner ---------------------------------------------------------------------------------------------------------------


class _Look(Hook):
    priority = "LOWEST"

    def __init__(self, job: Job) -> None:
        self.job, self.losses = job, []

    def before_train(self, runner: Any) -> None:
        self.job.begin()

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.losses.append(outputs["loss"].detach())


def runner(job: Job) -> Outcome:
    """Config first, with parts that are built already."""
    model, optimizer, loader = job.parts(ToyModel)
    look, job.has_resumed = _Look(job), job.resume_from is not None
    saving = {"type": "CheckpointHook", "interval": job.save_at or 1, "by_epoch": False, "save_last": False}
    made = Runner(
        model,
        os.fspath(job.folder),
        train_dataloader=loader,
        train_cfg={"by_epoch": True, "max_epochs": job.n_epochs},
        optim_wrapper=OptimWrapper(optimizer, accumulative_counts=job.window),
        default_hooks={"checkpoint": None if job.save_at is None else saving},
        custom_hooks=[look],
        load_from=job.resume_from,
        resume=job.resume_from is not None,
        randomness={"seed": job.seed},
        log_level="ERROR",
    )
    made.train()
    return outcome(look.losses, made.model, optimizer)


# MMCV 1.x -------------------------------------------------------------------------------------------------------------


class StepToy(ToyModel):
    """With the steps that MMCV's runners call."""

    def train_step(self, data: Any, optimizer: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Losses of a batch."""
        loss = self(data["inputs"], data["label"], mode="loss")["loss"]
        return {"loss": loss, "log_vars": {"loss": loss.detach()}, "num_samples": len(data["label"])}

    def val_step(self, data: Any, optimizer: Any = None, **kwargs: Any) -> dict[str, Any]:
        """The same, and a draw from the global stream, as sampling models make."""
        torch.rand(3)
        return self.train_step(data)


def mmcv1_runner(job: Job, name: str, engine: Any) -> Any:
    """A runner of MMCV 1.x with its hooks, its loader, and the list of losses that it fills."""
    model, optimizer, loader = job.parts(StepToy)
    by_epoch = name == "EpochBasedRunner"
    length = {"max_epochs": job.n_epochs} if by_epoch else {"max_iters": job.n_iters}
    logger = logging.Logger("doors", logging.ERROR)
    logger.addHandler(logging.NullHandler())
    work_dir = os.fspath(job.folder)
    made = getattr(engine, name)(model, optimizer=optimizer, work_dir=work_dir, logger=logger, meta={}, **length)
    losses: list[Any] = []

    class Look(engine.Hook):  # type: ignore[misc,name-defined]
        def before_run(self, runner: Any) -> None:
            job.begin()

        def after_train_iter(self, runner: Any) -> None:
            n = runner.iter + 1
            losses.append(runner.outputs["loss"].detach())
            if job.saves_after(n):
                runner.save_checkpoint(work_dir, filename_tmpl=f"iter_{n}.pth", create_symlink=False)

    window = job.window
    hook = engine.OptimizerHook() if window == 1 else engine.GradientCumulativeOptimizerHook(cumulative_iters=window)
    made.register_optimizer_hook(hook)
    made.register_hook(Look(), "LOWEST")
    if job.keep is not None:
        point = "after_train_epoch" if by_epoch else "after_train_iter"
        made.register_hook(_calling(engine, point, job.before_save, by_epoch), "BELOW_NORMAL")
        settings = {"max_keep_ckpts": job.keep, "create_symlink": job.link}
        made.register_hook(engine.CheckpointHook(1, by_epoch=by_epoch, **settings), "LOW")
        made.register_hook(_calling(engine, point, job.after_save, by_epoch), "LOWEST")
    return made, loader, losses


def _calling(engine: Any, point: str, call: Callable[[int], None], by_epoch: bool) -> Any:
    return type("Calling", (engine.Hook,), {point: lambda self, runner: call(runner.iter + (not by_epoch))})()


def _mmcv1(name: str) -> Callable[[Job], Outcome]:
    def run(job: Job) -> Outcome:
        from trainwright.compat.mmcv1 import runner as engine

        made, loader, losses = mmcv1_runner(job, name, engine)
        path = job.resume_from
        if path == "latest":
            link = job.folder / "latest.pth"
            path = os.fspath(link) if link.exists() else None
        job.has_resumed = path is not None
        if path is not None:
            made.resume(path, map_location="cpu")
        loaders, workflow = [loader], [("train", 1)]
        if job.validates:
            loaders.append(DataLoader(ToyDataset(8), BATCH, shuffle=True))
            workflow = [("train", 1), ("val", 1)] if name == "EpochBasedRunner" else [("train", 3), ("val", 1)]
        made.run(loaders, workflow)
        return outcome(losses, made.model, made.optimizer)

    return run


# detectron2 -----------------------------------------------------------------------------------------------------------


class LossToy(ToyModel):
    """Called with a batch, it gives a dict of losses."""

    def forward(self, data: Any) -> Any:  # type: ignore[override]
        """Losses of a batch."""
        return super().forward(data["inputs"], data["label"], mode="loss")


class Endless:
    """A loader that begins anew where it ends."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield from self.loader


def simple_trainer(job: Job) -> Outcome:
    """Code first, without a config."""
    from trainwright.trainer import CallbackHook, Checkpointer, PeriodicCheckpointer, SimpleTrainer

    model, optimizer, loader = job.parts(LossToy)
    given = optimizer if job.window == 1 else OptimWrapper(optimizer, accumulative_counts=job.window)
    trainer = SimpleTrainer(model, Endless(loader) if job.is_endless else loader, given)
    # Weak, as in detectron2: a circle would keep the workers of a loader until it is found.
    checkpointer = Checkpointer(model, os.fspath(job.folder), trainer=weakref.proxy(trainer))
    losses: list[Any] = []

    def note(trainer: Any) -> None:
        losses.append(trainer.storage.latest()["total_loss"][0])
        if job.saves_after(trainer.iter + 1):
            checkpointer.save(f"model_{trainer.iter:07d}")

    hooks = [CallbackHook(before_train=lambda trainer: job.begin(), after_step=note)]
    if job.keep is not None:
        hooks += [
            CallbackHook(after_step=lambda trainer: job.before_save(trainer.iter + 1)),
            PeriodicCheckpointer(checkpointer, 1, max_to_keep=job.keep),
            CallbackHook(after_step=lambda trainer: job.after_save(trainer.iter + 1)),
        ]
    trainer.register_hooks(hooks)
    start = 0
    if job.resume_from == "latest":
        start = trainer.iter + 1 if checkpointer.resume_or_load("", resume=True) else 0
    elif job.resume_from is not None:
        checkpointer.load(job.resume_from)
        start = trainer.iter + 1
    job.has_resumed = start > 0
    trainer.train(start, job.n_iters)
    return outcome(losses, model, optimizer)


DOORS: dict[str, Callable[[Job], Outcome]] = {
    "Runner": runner,
    "SimpleTrainer": simple_trainer,
    "EpochBasedRunner": _mmcv1("EpochBasedRunner"),
    "IterBasedRunner": _mmcv1("IterBasedRunner"),
}
NEW_DOORS = [name for name in DOORS if name != "Runner"]
