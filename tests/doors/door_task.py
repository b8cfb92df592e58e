"""The conformance suite's subject for a door: the same behaviours, asked of a training that came through it."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from trainwright import dist
from trainwright.checkpoint import read_checkpoint
from trainwright.data import build_dataloader
from trainwright.optim import OptimWrapper, build_optim_wrapper
from trainwright.testing.conformance.subject import Subject
from trainwright.testing.conformance.task import ConformanceModel, Task
from trainwright.testing.ranks import run_alone, run_ranks

NO_VALIDATION = {"val_cfg": None, "val_dataloader": None, "val_evaluator": None}
SEED = 1
_references: dict[str, Any] = {}


class PlainTask(Task):
    """The task without validation, which each door has in a way of its own."""

    def config(self, name: str, data: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        """A config of Runner."""
        return super().config(name, data, **{**NO_VALIDATION, **changes})


@dataclass
class DoorRun:
    """What of a training the behaviours look at, under the names that a Runner has."""

    work_dir: str
    epoch: int
    iter: int
    strategy: Any
    scalars: dict[str, list[float]]
    max_iters: int = 0
    rank: int = field(default_factory=dist.get_rank)

    @staticmethod
    def read(path: str) -> dict[str, Any]:
        """A checkpoint, with weights and optimizer under Runner's keys."""
        tree = read_checkpoint(path)
        if "model" in tree:
            tree.update(state_dict=tree["model"], optimizer=tree["trainer"]["optimizer"])
        return tree

    @property
    def message_hub(self) -> Any:
        """Histories of numbers."""
        logged = {name: torch.tensor(values, dtype=torch.float64) for name, values in self.scalars.items()}
        return SimpleNamespace(log_scalars={name: SimpleNamespace(data=(values,)) for name, values in logged.items()})


class StepModel(ConformanceModel):
    """As MMCV's runners want it."""

    def train_step(self, data: Any, optimizer: Any = None, **kwargs: Any) -> dict[str, Any]:
        """The loss of a batch."""
        loss = self(data["inputs"], data["label"], mode="loss")["loss"]
        return {"loss": loss, "log_vars": {"loss": loss.detach()}, "num_samples": len(data["label"])}


class LossModel(ConformanceModel):
    """As SimpleTrainer wants it."""

    def forward(self, data: Any) -> Any:  # type: ignore[override]
        """Losses of a batch."""
        return super().forward(data["inputs"], data["label"], mode="loss")


class EndlessPasses:
    """Pass after pass over a loader, which is told their numbers."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __iter__(self) -> Any:
        epoch = 0
        while True:
            self.loader.sampler.set_epoch(epoch)
            if hasattr(self.loader, "set_epoch"):
                self.loader.set_epoch(epoch)
            yield from self.loader
            epoch += 1


class DoorTask(PlainTask):
    """Trains what a config says through a door: the parts are built from it, and the door gets them."""

    door: str

    def parts(self, name: str, cls: type[ConformanceModel], **changes: Any) -> tuple[Any, ...]:
        """Config, model, optimizer, loader; of the same seed on all ranks."""
        config = self.config(name, **changes)
        torch.manual_seed(SEED)
        settings = dict(config["model"])
        assert settings.pop("type") == "ConformanceModel"
        model = cls(**settings)
        wrapper = dict(config["optim_wrapper"])
        clip, counts = wrapper.pop("clip_grad", None), wrapper.pop("accumulative_counts", 1)
        optimizer = build_optim_wrapper(model, wrapper).optimizer
        return config, model, optimizer, build_dataloader(config["train_dataloader"], SEED), clip, counts

    def train(self, name: str, **changes: Any) -> Any:
        """A run of the config, trained to its end."""
        return TRAININGS[self.door](self, name, **changes)


def _length(config: dict[str, Any], loader: Any) -> int:
    planned = config["train_cfg"]
    return planned["max_iters"] if "max_iters" in planned else planned["max_epochs"] * len(loader)


def by_mmcv1(
    task: DoorTask, name: str, save_every: int | None = None, resume_from: str | None = None, **changes: Any
) -> DoorRun:
    """EpochBasedRunner, or IterBasedRunner where the config counts iterations."""
    from trainwright.compat.mmcv1 import runner as engine
    from trainwright.compat.mmcv1.parallel import MMDistributedDataParallel

    config, model, optimizer, loader, clip, counts = task.parts(name, StepModel, **changes)
    if dist.get_world_size() > 1:
        model = MMDistributedDataParallel(model)
    logger = logging.Logger("doors", logging.ERROR)
    logger.addHandler(logging.NullHandler())
    by_epoch = config["train_cfg"].get("by_epoch", True)
    length = {key: value for key, value in config["train_cfg"].items() if key in ("max_epochs", "max_iters")}
    cls = engine.EpochBasedRunner if by_epoch else engine.IterBasedRunner
    made = cls(model, optimizer=optimizer, work_dir=config["work_dir"], logger=logger, meta={}, **length)
    seen: dict[str, list[Any]] = {}

    class Look(engine.Hook):  # type: ignore[misc,name-defined]
        def after_train_iter(self, runner: Any) -> None:
            for key, values in {**runner.log_buffer.val_history, "lr": runner.current_lr()}.items():
                seen.setdefault(f"train/{key}", []).append(float(values[-1]))

    settings = {"grad_clip": clip and {**clip, "max_norm": clip["max_norm"]}}
    hook = engine.OptimizerHook(**settings)
    if counts > 1:
        hook = engine.GradientCumulativeOptimizerHook(cumulative_iters=counts, **settings)
    made.register_optimizer_hook(hook)
    if by_epoch:  # by iteration the runner tells the sampler itself
        made.register_hook(engine.DistSamplerSeedHook())
    every = {"interval": 1, "by_epoch": by_epoch} if save_every is None else {"interval": save_every, "by_epoch": False}
    made.register_checkpoint_hook(every)
    made.register_hook(Look(), "LOWEST")
    for extra in config.get("custom_hooks", ()):
        made.register_hook(at_iteration(engine, extra))
    if resume_from is not None:
        made.resume(resume_from, map_location="cpu")
    made.run([loader], [("train", 1)])
    return DoorRun(config["work_dir"], made.epoch if by_epoch else 1, made.iter, made.strategy, seen, made.iter)


def at_iteration(engine: Any, hook: Any) -> Any:
    """The hook AtIteration of the suite in MMCV's terms."""

    class Called(engine.Hook):  # type: ignore[misc,name-defined]
        def before_train_iter(self, runner: Any) -> None:
            hook.before_train_iter(runner, runner.inner_iter)

    return Called()


def by_simple_trainer(
    task: DoorTask, name: str, save_every: int | None = None, resume_from: str | None = None, **changes: Any
) -> DoorRun:
    """SimpleTrainer, on several ranks with DDPStrategy."""
    from trainwright.strategies import DDPStrategy
    from trainwright.trainer import CallbackHook, Checkpointer, PeriodicCheckpointer, SimpleTrainer

    config, model, optimizer, loader, clip, counts = task.parts(name, LossModel, **changes)
    strategy = DDPStrategy(work_dir=config["work_dir"]) if dist.get_world_size() > 1 else None
    given = OptimWrapper(optimizer, accumulative_counts=counts, clip_grad=clip)
    trainer = SimpleTrainer(model, loader, given, strategy=strategy)
    checkpointer = Checkpointer(model, config["work_dir"], trainer=weakref.proxy(trainer))
    seen: dict[str, list[Any]] = {}

    def look(trainer: Any) -> None:
        seen.setdefault("train/loss", []).append(trainer.storage.latest()["total_loss"][0])
        seen.setdefault("train/lr", []).append(trainer.optimizer.param_groups[0]["lr"])
        if clip is not None:
            norms = trainer.ctx.hub.get_scalar("train/grad_norm")
            seen.setdefault("train/grad_norm", []).append(float(norms.current()))

    trainer.register_hooks(
        [PeriodicCheckpointer(checkpointer, save_every or len(loader)), CallbackHook(after_step=look)]
    )
    for extra in config.get("custom_hooks", ()):
        trainer.register_hooks([CallbackHook(before_step=partial(extra.before_train_iter, batch_idx=0))])
    n_iters = _length(config, loader)
    checkpointer.load(resume_from or "")
    trainer.train(0 if resume_from is None else trainer.iter + 1, n_iters)
    epoch = n_iters // len(loader) if config["train_cfg"].get("by_epoch", True) else 1
    return DoorRun(config["work_dir"], epoch, trainer.iter, trainer.strategy, seen, n_iters)


TRAININGS: dict[str, Callable[..., DoorRun]] = {"EpochBasedRunner": by_mmcv1, "SimpleTrainer": by_simple_trainer}


@dataclass(frozen=True)
class DoorSubject(Subject):
    """Ranks that train through a door; the reference is a Runner in one process."""

    door: str = ""

    def here(self, func: Callable[..., Any], *args: Any) -> list[Any]:
        """``func(task, *args)`` on every rank."""
        task = DoorTask(self.folder / "here", None, self.n_ranks, dict(self.optim_wrapper))
        task.door = self.door
        if self.n_ranks == 1:
            return [run_alone(func, task, *args, timeout_s=self.timeout_s)]
        return run_ranks(self.n_ranks, func, task, *args, timeout_s=self.timeout_s)

    def alone(self, func: Callable[..., Any], *args: Any) -> Any:
        """``func(task, *args)`` by a Runner in one process, with batches as large as those of all ranks together."""
        key = f"{func.__module__}.{func.__qualname__}{args!r}"
        if key not in _references:
            task = PlainTask(Path(self.folder) / "alone", None, 1, {})
            _references[key] = run_alone(func, task, *args, timeout_s=self.timeout_s)
        return _references[key]
