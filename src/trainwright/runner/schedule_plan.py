"""Every value that the schedulers of a config will set, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from trainwright.base.errors import ConfigError
from trainwright.data import build_dataloader
from trainwright.engine.loops.base import limit_of, limited_length
from trainwright.optim import DefaultOptimWrapperConstructor, OptimWrapperDict
from trainwright.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS, DefaultScope
from trainwright.runner.check import find_problems, refuse
from trainwright.runner.checks.keys import raw, spec_of
from trainwright.runner.checks.schedules import Horizon, horizon_of
from trainwright.state import rng
from trainwright.strategies.schedulers import check_names, make_optim_wrapper, schedulers_for_one

_JUDGED = ("param_scheduler", "optim_wrapper", "train_cfg")


@dataclass
class Curve:
    """One value of the parameter groups that share it, at the beginning of each iteration (or epoch)."""

    name: str
    optimizer: str | None
    groups: list[int]
    n_parameters: int
    values: list[float] = field(default_factory=list)

    @property
    def label(self) -> str:
        """``lr``, ``generator.lr``; the numbers of the groups where there are several curves."""
        return self.name if self.optimizer is None else f"{self.optimizer}.{self.name}"


@dataclass
class SchedulePlan:
    """``n_steps`` values a curve. ``unit`` is "iteration", or "epoch" where nothing is counted in iterations;
    ``epoch_length`` is in that unit, None where there are no epochs."""

    unit: str
    n_steps: int
    epoch_length: int | None
    curves: list[Curve]
    notes: list[str]


def plan_schedules(cfg: Any, epoch_length: int | None = None) -> SchedulePlan:
    """Step the schedulers of a whole config through the training that it describes, without data and training.

    The model is built, without memory for its weights, where ``optim_wrapper`` treats parameters differently. The
    dataset is built to be counted when iterations and epochs must be compared and ``epoch_length`` is not given.
    """
    spec = spec_of(cfg)
    refuse([problem for problem in find_problems(spec, cfg) if problem.where[:1] and problem.where[0] in _JUDGED])
    if spec["optim_wrapper"] is None:
        raise ConfigError("the config has no optim_wrapper, so there is nothing that is scheduled.")
    horizon = _length(spec)
    streams = rng.capture()
    try:
        with DefaultScope.overwrite_default_scope(str(spec["default_scope"] or "mmengine")):
            return _plan(spec, horizon, epoch_length)
    finally:
        rng.restore(streams)


def _length(spec: Mapping[str, Any]) -> Horizon:
    horizon = horizon_of(spec)
    cfg = spec["train_cfg"]
    for name in ("max_epochs", "max_iters"):
        last: Any = dict.get(cfg, name) if isinstance(cfg, dict) else None
        if horizon is None and isinstance(last, int):
            horizon = Horizon(last, name == "max_epochs", f"train_cfg.{name}")
    if horizon is None:
        raise ConfigError(
            f"train_cfg={cfg!r} does not say how long training is in epochs or iterations: it has no max_epochs or "
            "max_iters."
        )
    return horizon


def _plan(spec: Mapping[str, Any], horizon: Horizon, epoch_length: int | None) -> SchedulePlan:
    given = _plain(spec["param_scheduler"])
    notes: list[str] = []
    unit = "iteration"
    if not horizon.by_epoch:
        epoch_length = None
    elif epoch_length is None and all(_counts_epochs(item) for item in _items(given)):
        unit, epoch_length = "epoch", 1
    elif epoch_length is None:
        epoch_length = _limited(spec, _count_iterations(spec["train_dataloader"]))
    n_steps = int(horizon.last) * (epoch_length or 1)
    limits = {
        "epoch_length": epoch_length,
        "max_epochs": int(horizon.last) if horizon.by_epoch else 1,
        "max_iters": n_steps,
    }
    curves: list[Curve] = []
    optimizers = list(_optimizers(spec, notes))
    names = [name for name, _, _ in optimizers if name is not None]
    by_name = bool(names) and isinstance(given, dict) and "type" not in given
    if by_name:
        check_names(list(given), names)
    for name, groups, defaults in optimizers:
        cfg = given[name] if by_name else given
        curves += _curves(name, _Groups(groups, defaults, merge=not _has_lists(cfg)), cfg, limits, notes)
    return SchedulePlan(unit, n_steps, epoch_length, curves, notes)


def _curves(
    name: str | None, optimizer: _Groups, cfg: Any, limits: dict[str, int | None], notes: list[str]
) -> list[Curve]:
    schedulers: Any = schedulers_for_one(cfg, optimizer, limits) if cfg is not None else []
    waiting = [type(scheduler).__name__ for scheduler in schedulers if getattr(scheduler, "need_val_args", False)]
    notes += [f"{kind} follows a metric: drawn as if it never reduced the value" for kind in waiting]
    scheduled = ["lr", *(scheduler.param_name for scheduler in schedulers)]
    numbers = range(len(optimizer.param_groups))
    curves = {
        (param, n): Curve(param, name, optimizer.members[n], optimizer.n_parameters[n])
        for param in dict.fromkeys(scheduled)
        for n in numbers
        if param in optimizer.param_groups[n]
    }
    n_steps, epoch_length = limits["max_iters"] or 0, limits["epoch_length"]
    by_iter = [scheduler for scheduler in schedulers if not scheduler.by_epoch]
    by_epoch = [scheduler for scheduler in schedulers if scheduler.by_epoch]
    for step in range(1, n_steps + 1):
        for (param, n), curve in curves.items():
            curve.values.append(float(optimizer.param_groups[n][param]))
        if step == n_steps:
            break  # what follows the last one is not trained with
        for scheduler in by_iter:
            scheduler.step()
        if epoch_length and step % epoch_length == 0:
            for scheduler in by_epoch:
                scheduler.step()
    return list(curves.values())


class _Groups(Optimizer):
    """An optimizer that has groups, and no more: one for those that begin with equal settings, if ``merge``."""

    def __init__(self, groups: list[dict[str, Any]], defaults: dict[str, Any], merge: bool) -> None:
        self.members: list[list[int]] = []
        self.n_parameters: list[int] = []
        own: dict[Any, dict[str, Any]] = {}
        for number, group in enumerate(groups):
            settings = {key: value for key, value in group.items() if key != "params"}
            key = repr(sorted(settings.items(), key=lambda item: item[0])) if merge else number
            if key not in own:
                own[key] = {**settings, "params": [nn.Parameter(torch.zeros(()))]}
                self.members.append([])
                self.n_parameters.append(0)
            at = list(own).index(key)
            self.members[at].append(number)
            self.n_parameters[at] += sum(parameter.numel() for parameter in group["params"])
        super().__init__(list(own.values()), defaults)


def _optimizers(
    spec: Mapping[str, Any], notes: list[str]
) -> Iterator[tuple[str | None, list[dict[str, Any]], dict[str, Any]]]:
    """Name, groups and defaults of each optimizer, learning rates scaled as the runner would scale them."""
    cfg = _plain(spec["optim_wrapper"])
    model: nn.Module = nn.Linear(1, 1, bias=False)
    if isinstance(cfg, dict) and "optimizer" in cfg and _is_ours(cfg):
        cfg = {key: cfg[key] for key in ("optimizer", "paramwise_cfg", "constructor") if key in cfg}
    if isinstance(cfg, dict) and (cfg.get("paramwise_cfg") or not _is_ours(cfg)):
        model = _weightless(spec)
        wrapper = make_optim_wrapper(cfg, model)
    else:
        wrapper = make_optim_wrapper(cfg, model)
        notes.append("parameter groups: one, since all parameters are treated alike")
    scale = _lr_scale(spec)
    if scale != 1.0:
        notes.append(f"learning rates are multiplied by {scale:g} (auto_scale_lr, in one process)")
    parts = wrapper.items() if isinstance(wrapper, OptimWrapperDict) else [(None, wrapper)]
    for name, part in parts:
        groups = [{**group, "lr": group["lr"] * scale} for group in part.optimizer.param_groups]
        yield name, groups, part.optimizer.defaults


def _is_ours(cfg: Mapping[str, Any]) -> bool:
    constructor = cfg.get("constructor")
    if constructor is None:
        return True
    return constructor is DefaultOptimWrapperConstructor or (
        isinstance(constructor, str) and OPTIM_WRAPPER_CONSTRUCTORS.get(constructor) is DefaultOptimWrapperConstructor
    )


def _weightless(spec: Mapping[str, Any]) -> nn.Module:
    """The model without memory for its weights; with it, where it cannot be made without."""
    cfg = _plain(spec["model"])
    if spec["data_preprocessor"] is not None:
        cfg.setdefault("data_preprocessor", _plain(spec["data_preprocessor"]))
    try:
        with torch.device("meta"):
            return MODELS.build(_plain(cfg))  # type: ignore[no-any-return]
    except (RuntimeError, NotImplementedError):  # it computes with its weights while it is made
        return MODELS.build(cfg)  # type: ignore[no-any-return]


def _lr_scale(spec: Mapping[str, Any]) -> float:
    cfg, loader = spec["auto_scale_lr"], spec["train_dataloader"]
    if not cfg or not cfg.get("enable", False) or not isinstance(loader, dict):
        return 1.0
    return float(loader.get("batch_size", 1)) / float(cfg["base_batch_size"])


def _limited(spec: Mapping[str, Any], length: int) -> int:
    cfg = spec["train_cfg"]
    limit = dict.get(cfg, "limit_batches") if isinstance(cfg, dict) else None
    return limited_length(range(length), limit_of(limit, "train_cfg.limit_batches"), "train_cfg.limit_batches") or 0


def _count_iterations(loader: Any) -> int:
    """Iterations an epoch. The dataset is built where no setting says it; no sample is read."""
    knob = "Say it with --epoch-length N (epoch_length=N), the number of iterations an epoch."
    if isinstance(loader, dict):
        if isinstance(loader.get("num_batch_per_epoch"), int):
            return int(loader["num_batch_per_epoch"])
        settings = ("dataset", "sampler", "batch_sampler", "batch_size", "drop_last", "shuffle")
        loader = {key: _plain(loader[key]) for key in settings if key in loader}
    try:
        length = len(build_dataloader(loader, 0))
    except Exception as error:  # whatever a dataset raises when its files are not there
        text = f"schedulers count iterations here, and the length of train_dataloader cannot be told: {error}"
        raise ConfigError(f"{text}. {knob}") from error
    if length >= 2**31:
        raise ConfigError(f"train_dataloader has no end, so there are no epochs to count. {knob}")
    return length


def _items(given: Any) -> Iterable[dict[str, Any]]:
    if isinstance(given, dict) and "type" not in given:
        return [item for part in given.values() for item in _items(part)]
    listed = given if isinstance(given, (list, tuple)) else [given]
    return [item for item in listed if isinstance(item, dict)]


def _counts_epochs(item: Mapping[str, Any]) -> bool:
    return bool(item.get("by_epoch", True)) and not item.get("convert_to_iter_based", False)


def _has_lists(given: Any) -> bool:
    """Whether a scheduler has a value for each group, which must then stay apart."""
    return any(isinstance(item.get(name), (list, tuple)) for item in _items(given) for name in ("eta_max", "min_value"))


def _plain(value: Any) -> Any:
    """A copy of configs; objects stay the same."""
    value = raw(value) if hasattr(value, "_cfg_dict") else value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
