"""The learning-rate range test (Smith, 2017): raise the rate from step to step and watch the loss.

It works on copies of model, optimizer and loader, and puts the random streams back: the runner is afterwards as it was
before, and a training is bit for bit the one without the test.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from trainwright.base.errors import ConfigError
from trainwright.base.text import brief
from trainwright.engine.loops.base import build_loader, no_batch_error
from trainwright.optim import OptimWrapperDict
from trainwright.runner import bringup
from trainwright.runner.quiet import warnings_only
from trainwright.state import RunContext, Stateful, rng

_MOVING_SHARE = 0.9  # of the running mean that says when the loss runs away
_WINDOW_SHARE = 0.03  # width of the centred mean, as a share of the test
_EDGE_SHARE = 0.05  # of the test, where a slope is mostly noise
_LARGE_ITEMS = 1000


@dataclass(frozen=True)
class LrTest:
    """One loss for each rate. ``steepest``: the rate where the smoothed loss falls fastest; ``tenth``: a tenth of the
    rate where it is lowest; None where the loss never fell. ``ran_away``: the test ended before its last rate.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    steepest: float | None
    tenth: float | None
    ran_away: bool

    @property
    def suggestion(self) -> float | None:
        """The rate to begin with: the steepest."""
        return self.steepest


def find_lr(runner: Any, start: float = 1e-7, end: float = 10.0, iters: int = 100, stop_factor: float = 4.0) -> LrTest:
    """Train a copy for ``iters`` steps of the optimizer, with rates from ``start`` to ``end`` at equal ratios.

    Groups keep the ratios of their rates (``lr_mult``); the rates of the test are those of ``optimizer.lr``. Schedules
    rest, no hook is called and nothing is compiled. Weights are as training would begin with: initialised, and loaded
    as ``load_from`` and ``resume`` say. The test ends early when the loss is not finite, or its running mean more than
    ``stop_factor`` times its lowest.
    """
    _check(start, end, iters, stop_factor)
    if runner._specs["train_cfg"] is None:
        raise ConfigError("find_lr() needs train_dataloader, train_cfg and optim_wrapper, as train() does.")
    if runner.world_size > 1:
        raise ConfigError(f"find_lr() works in one process, and this run has {runner.world_size}.")
    runner._need_method("train_step", "train")
    with bringup.scoped(runner):
        try:
            bringup.build_training(runner)
        finally:
            runner.logger.close_files()
        if isinstance(runner.optim_wrapper, OptimWrapperDict):
            raise ConfigError(
                f"find_lr() raises the rate of one optimizer, and this config has several "
                f"({', '.join(runner.optim_wrapper)}): test them one at a time, each in a config of its own."
            )
        with _set_aside(runner) as (wrapper, loader):
            rates = np.geomspace(start, end, iters).tolist()
            losses = _losses(runner, wrapper, loader, rates, stop_factor)
    return evaluated(rates[: len(losses)], losses, ran_away=len(losses) < iters)


def _check(start: float, end: float, iters: int, stop_factor: float) -> None:
    if not 0 < start < end < math.inf:
        raise ConfigError(f"start and end must be rates above 0, start the lower, got start={start!r} and end={end!r}")
    if not isinstance(iters, int) or iters < 10:
        raise ConfigError(f"iters must be a whole number of at least 10, got {iters!r}: a curve needs some points")
    if not stop_factor > 1:
        raise ConfigError(f"stop_factor must be above 1, got {stop_factor!r}: so many times the lowest loss is the end")


def evaluated(rates: list[float], losses: list[float], *, ran_away: bool = False) -> LrTest:
    """What the losses of a test say. Those at the end that are not finite are left out."""
    n_finite = next((n for n, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
    ran_away |= n_finite < len(losses)
    rates, losses = rates[:n_finite], losses[:n_finite]
    if n_finite < 5:
        raise ConfigError(
            f"the loss is not finite after {n_finite} steps, so there is no curve to read a rate from: look at the "
            "model and its data, or begin with a lower rate (start)"
        )
    smoothed = _smooth(losses)
    lowest = int(np.argmin(smoothed))
    slopes = np.gradient(np.asarray(smoothed), np.log(rates))
    first = max(1, round(_EDGE_SHARE * n_finite))
    steepest = tenth = None
    if lowest > first and smoothed[lowest] < smoothed[0]:
        steepest, tenth = rates[first + int(np.argmin(slopes[first : lowest + 1]))], rates[lowest] / 10
    return LrTest(rates, losses, smoothed, steepest, tenth, ran_away)


def _smooth(losses: list[float]) -> list[float]:
    """A mean around each point, with Gaussian weights: unlike a running mean it moves nothing to higher rates."""
    at = np.arange(len(losses))
    width = max(1.0, _WINDOW_SHARE * len(losses))
    weights = np.exp(-0.5 * ((at[:, None] - at[None, :]) / width) ** 2)
    smoothed: list[float] = ((weights @ np.asarray(losses)) / weights.sum(1)).tolist()
    return smoothed


def _losses(runner: Any, wrapper: Any, loader: Any, rates: list[float], stop_factor: float) -> list[float]:
    strategy, groups = runner.strategy, wrapper.optimizer.param_groups
    ratios = _ratios(wrapper)
    step = strategy.train_step_function()
    batches = _endless(loader)
    n_batches = int(getattr(wrapper, "_accumulative_counts", 1))
    wrapper.initialize_count_status(strategy.unwrapped_model, 0, -1)
    strategy.model.train()
    losses: list[float] = []
    mean = lowest = math.inf
    try:
        for rate in rates:
            for group, ratio in zip(groups, ratios, strict=True):
                _set(group, rate * ratio)
            losses.append(sum(_loss(step(next(batches)), strategy) for _ in range(n_batches)) / n_batches)
            mean = losses[-1] if mean == math.inf else _MOVING_SHARE * mean + (1 - _MOVING_SHARE) * losses[-1]
            lowest = min(lowest, mean)
            if not math.isfinite(mean) or (lowest > 0 and mean > stop_factor * lowest):
                break
    finally:
        batches.close()
    return losses


def _loss(outputs: Any, strategy: Any) -> float:
    if not isinstance(outputs, dict) or "loss" not in outputs:
        raise ConfigError(
            f"train_step() of {type(strategy.unwrapped_model).__name__} must return a dict with the total as 'loss', "
            f"got {brief(outputs)}"
        )
    loss = outputs["loss"]
    return float(loss.detach() if isinstance(loss, Tensor) else loss)


def _ratios(wrapper: Any) -> list[float]:
    """The rate of each group as a multiple of the optimizer's."""
    groups = wrapper.optimizer.param_groups
    if all("max_lr" in group for group in groups):  # a cycle, which has a largest rate for each group
        largest = max(group["max_lr"] for group in groups)
        return [group["max_lr"] / largest for group in groups]
    initial = [float(group.get("initial_lr", group["lr"])) for group in groups]
    base = float(wrapper.optimizer.defaults.get("lr") or 0) or max(initial) or 1.0
    return [rate / base for rate in initial]


def _set(group: dict[str, Any], rate: float) -> None:
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def _endless(loader: Any) -> Generator[Any, None, None]:
    """The batches of one epoch after the other."""
    epoch = int(getattr(loader, "epoch", 0))
    was_empty = False  # the first pass may be over, between two trainings
    while True:
        targets: tuple[Any, ...] = (loader, getattr(loader, "sampler", None))
        for target in targets:
            if hasattr(target, "set_epoch"):
                target.set_epoch(epoch)
        is_empty = True
        for batch in loader:
            is_empty = False
            yield batch
        if is_empty and was_empty:
            raise no_batch_error()
        epoch, was_empty = epoch + 1, is_empty


@contextmanager
def _set_aside(runner: Any) -> Iterator[tuple[Any, Any]]:
    """Within the block the strategy has a copy of model, optimizer and schedulers, ready to train; with that optimizer
    wrapper and a copy of the loader the block works. Everything else is left alone or put back.
    """
    strategy = runner.strategy
    streams = rng.capture()
    own = {name: getattr(strategy, name, None) for name in ("model", "optim_wrapper", "param_schedulers")}
    kept = (strategy, runner, runner.ctx, runner.ctx.metrics, runner.ctx.hub, runner.logger, runner.visualizer)
    loader: Any = None
    try:
        copies = _copied(tuple(own.values()), {id(part): part for part in kept}, "model and optimizer")
        loader = _copied_loader(runner)
        for name, part in zip(own, copies, strict=True):
            if own[name] is not None:
                setattr(strategy, name, part)
        if hasattr(strategy.optim_wrapper, "on_grad_norm"):
            strategy.optim_wrapper.on_grad_norm = None  # the norms of the test are no metrics of the run
        with warnings_only(runner.logger), RunContext(f"{runner.experiment_name}_find_lr", runner.ctx.hooks):
            if not runner._has_loaded:
                strategy.init_model_weights()
                _load(runner)
            yield strategy.optim_wrapper, loader
    finally:
        for name, part in own.items():
            if part is not None:
                setattr(strategy, name, part)
        if hasattr(loader, "close"):
            loader.close()
        rng.restore(streams)


def _load(runner: Any) -> None:
    resume, path = runner._resume, runner._load_from
    if resume:
        path = resume if isinstance(resume, str) else path or runner.checkpoints().latest()
    if path is None:
        return
    (runner.strategy.resume if resume else runner.strategy.load_checkpoint)(path)


def _copied(parts: Any, memo: dict[int, Any], what: str) -> Any:
    try:
        return copy.deepcopy(parts, memo)
    except Exception as error:
        raise ConfigError(
            f"find_lr() tries rates out on a copy, and {what} cannot be copied (copy.deepcopy): {error}"
        ) from error


def _copied_loader(runner: Any) -> Any:
    """A loader like the runner's, at its place, with samplers and random state of its own. It reads the same data: what
    is large in the dataset is shared, and where the rest cannot be copied, the dataset is."""
    loader, cfg = runner.train_dataloader, runner._specs["train_dataloader"]
    memo: dict[int, Any] = {}
    for name in ("multiprocessing_context", "_iterator"):
        part = getattr(loader, name, None)
        if part is not None:
            memo[id(part)] = None if name == "_iterator" else part  # workers stay with the loader that started them
    dataset = getattr(loader, "dataset", None)
    for part in _large_parts(dataset):
        memo[id(part)] = part
    try:
        memo[id(dataset)] = copy.deepcopy(dataset, dict(memo))
    except Exception:  # noqa: BLE001 - open files and the like: reading them through one object changes no data
        memo[id(dataset)] = dataset
    if not isinstance(cfg, dict):
        return _copied(loader, memo, "train_dataloader")
    settings = {name: value for name, value in dict.items(cfg) if name != "dataset"}
    again = build_loader(runner, {**_copied(settings, memo, "train_dataloader"), "dataset": memo[id(dataset)]})
    if isinstance(again, Stateful):
        again.load_state_dict(loader.state_dict())
    return again


def _large_parts(part: Any, depth: int = 6) -> Iterator[Any]:
    """Tensors, arrays and long collections within ``part``: data, which reading does not change."""
    is_long = isinstance(part, (list, tuple, dict)) and len(part) > _LARGE_ITEMS
    if is_long or isinstance(part, (Tensor, np.ndarray, bytes)):
        yield part
    elif depth:
        inner: Any = part if isinstance(part, (list, tuple)) else getattr(part, "__dict__", {})
        inner = part if isinstance(part, dict) else inner
        for item in list(inner.values() if isinstance(inner, dict) else inner):
            yield from _large_parts(item, depth - 1)
