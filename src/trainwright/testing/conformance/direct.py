"""A strategy used without a Runner."""

from __future__ import annotations

from typing import Any

import torch

from trainwright.dist import data_info
from trainwright.registry import STRATEGIES
from trainwright.testing.conformance.behaviour import behaviour
from trainwright.testing.conformance.comparing import expect, expect_close
from trainwright.testing.conformance.subject import Subject
from trainwright.testing.conformance.task import ADAM, GLOBAL_BATCH, Task
from trainwright.testing.toys import ToyDataset


def _prepared(task: Task, name: str) -> Any:
    cfg = {**(task.strategy or {"type": "SingleDeviceStrategy"}), "work_dir": str(task.folder / name)}
    strategy: Any = STRATEGIES.build(
        {**cfg, "env_kwargs": {"randomness": {"seed": 1}}, "log_kwargs": {"log_level": "WARNING"}}
    )
    strategy.prepare(
        {"type": "ConformanceModel"},
        optim_wrapper={**task.optim_wrapper, "optimizer": ADAM},
        param_scheduler={"type": "ExponentialLR", "gamma": 0.9, "by_epoch": False},
        dispatch_kwargs={
            "epoch_length": 4,
            "max_epochs": 2,
            "max_iters": 8,
            "train_micro_batch_size_per_gpu": GLOBAL_BATCH // task.n_data_ranks,
        },
    )
    return strategy


def _steps(task: Task, strategy: Any, batches: range) -> list[float]:
    data, losses = ToyDataset(64), []
    rank, size = data_info()
    step = strategy.train_step_function()
    for n in batches:
        own = torch.arange(n * 8, (n + 1) * 8)[rank::size]
        batch = {"inputs": data.points[own], "label": torch.tensor(data.labels)[own]}
        losses.append(step(batch)["loss"].detach().item())
        for scheduler in strategy.param_schedulers:
            scheduler.step()
    return losses


def _without_runner(task: Task) -> dict[str, Any]:
    strategy = _prepared(task, "direct")
    losses = _steps(task, strategy, range(4))
    path = str(task.folder / "direct.pth")
    strategy.save_checkpoint(path)
    losses += _steps(task, strategy, range(4, 6))
    again = _prepared(task, "again")
    again.resume(path)
    return {"losses": losses, "again": _steps(task, again, range(4, 6)), "rate": again.optim_wrapper.get_lr()}


@behaviour(quick=True)
def without_a_runner(subject: Subject) -> None:
    """prepare(), train_step, save_checkpoint() and resume() train on their own as in one process."""
    ranks, one = subject.here(_without_runner), subject.alone(_without_runner)
    for name in ("losses", "again"):
        means = [sum(values) / len(ranks) for values in zip(*(found[name] for found in ranks), strict=True)]
        expect_close(means, one[name], name, 1e-6)
    for found in ranks:
        expect_close(found["rate"], one["rate"], "learning rate", 1e-12)
        expect_close(found["again"], found["losses"][4:], "losses after resume()", 1e-6)


def _environment(task: Task) -> Any:
    strategy = task.runner("environment").strategy
    collect = getattr(strategy, "collect_env", None)
    if collect is None:
        return None
    system, _ = collect()
    return {str(name) for name in system}


@behaviour()
def environment_collected(subject: Subject) -> None:
    """collect_env() tells the versions and machine on every rank."""
    for rank, names in enumerate(subject.here(_environment)):
        expect(names and any("torch" in name.lower() for name in names), f"rank {rank} collected {names}")
