"""Building optimizer wrappers and parameter schedulers from configs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from trainwright.base.defaults import defaults
from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.text import did_you_mean
from trainwright.optim import (
    INF,
    BaseOptimWrapper,
    OptimWrapperDict,
    TableScheduler,
    _ParamScheduler,
    build_optim_wrapper,
)
from trainwright.optim.overlaps import overlaps, span_of
from trainwright.registry import OPTIM_WRAPPERS, PARAM_SCHEDULERS

Schedulers = list[Any] | dict[str, list[Any]]


def make_optim_wrapper(cfg: Any, model: nn.Module | None) -> BaseOptimWrapper:
    """A wrapper from a built one, a config of one optimizer, a constructor, or a dict of built wrappers."""
    if isinstance(cfg, BaseOptimWrapper):
        return cfg
    if not isinstance(cfg, dict):
        raise ConfigTypeError(f"optimizer wrapper should be an OptimWrapper or a dict, but got {cfg!r}.")
    optimizer = cfg.get("optimizer")
    if isinstance(optimizer, Optimizer):
        return OPTIM_WRAPPERS.build({"type": "OptimWrapper", **cfg})  # type: ignore[no-any-return]
    if optimizer is not None or "constructor" in cfg:
        if model is None:
            raise ConfigError("optim_wrapper is a config with an optimizer, so the model must be given with it.")
        return build_optim_wrapper(model, cfg)
    for name, wrapper in cfg.items():
        if not isinstance(wrapper, BaseOptimWrapper):
            raise ConfigError(
                # Slip and all, the words that tests written for MMEngine look for.
                f"optim_wrapper has neither 'optimizer' nor 'constructor', so each item mush be an optimizer object "
                f"in a built OptimWrapper, but {name!r} is {wrapper!r}. For one optimizer write "
                "optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)); for several name a constructor."
            )
    return OptimWrapperDict(**cfg)


def make_schedulers(
    cfg: Any,
    optim_wrapper: BaseOptimWrapper,
    horizon: dict[str, int | None],
    for_one: Callable[..., list[Any]] | None = None,
) -> Schedulers:
    """Schedulers for one wrapper (a list) or several (a dict of lists under their names).

    ``horizon`` holds ``epoch_length``, ``max_epochs`` and ``max_iters``: the default ``end`` of a scheduler is the
    end of the training in its own unit, and ``convert_to_iter_based`` needs the epoch length in iterations. Where a
    maximum is None, nobody knows that end, and a scheduler that depends on it needs its own. ``for_one`` builds those
    of one wrapper; by default :func:`schedulers_for_one`.
    """
    for_one = for_one or schedulers_for_one
    if not isinstance(optim_wrapper, OptimWrapperDict):
        return for_one(cfg, optim_wrapper, horizon)
    by_name = isinstance(cfg, dict) and "type" not in cfg
    if by_name:
        check_names(list(cfg), list(optim_wrapper))
    return {name: for_one(cfg[name] if by_name else cfg, part, horizon) for name, part in optim_wrapper.items()}


def check_names(given: list[str], wrappers: list[str]) -> None:
    """Each wrapper has its entry, and each entry its wrapper."""
    for name in given:
        if name not in wrappers:
            raise ConfigError(
                f"param_scheduler has an entry {name!r}, but the optim wrappers are {', '.join(wrappers)}."
                f"{did_you_mean(str(name), wrappers)}"
            )
    for name in wrappers:
        if name not in given:
            raise ConfigError(
                f"param_scheduler has entries by name and none for the optim wrapper {name!r}: add "
                f"{name}=[...], with an empty list where nothing is scheduled."
            )


def schedulers_for_one(cfg: Any, wrapper: Any, horizon: dict[str, int | None]) -> list[Any]:
    """Schedulers of one wrapper from a config, a built one, or a list of them."""
    items: Sequence[Any] = cfg if isinstance(cfg, (list, tuple)) else [cfg]
    built: list[Any] = []
    for item in items:
        if isinstance(item, _ParamScheduler):
            built.append(item)
        elif isinstance(item, dict):
            built.append(_build_scheduler(item, wrapper, horizon))
        else:
            raise ConfigTypeError(f"param_scheduler must be a scheduler, a dict, or a list of them, but got {item!r}.")
    _refuse_overlaps(built, horizon.get("epoch_length"))
    return built


def _refuse_overlaps(schedulers: list[Any], epoch_length: int | None) -> None:
    """Schedulers of one parameter that work against each other are an error."""
    spans = [span_of(type(scheduler), vars(scheduler)) for scheduler in schedulers]
    for earlier, later, text in overlaps(spans, epoch_length):
        raise ConfigError(f"param_scheduler number {earlier} and number {later} (counted from 0): {text}")


def _build_scheduler(cfg: dict[str, Any], wrapper: Any, horizon: dict[str, int | None]) -> Any:
    added: dict[str, Any] = {"optimizer": wrapper}
    unit = "max_epochs" if cfg.get("by_epoch", True) else "max_iters"
    end = horizon.get(unit)
    if end is not None:
        added["end"] = end
    elif unit in horizon and "end" not in cfg and _needs_end(cfg):
        raise ConfigError(
            f"param_scheduler {cfg.get('type')!r} has no end of its own and goes on to that of training, and nobody "
            f"knows {unit}: training ends by time or tokens, or train_dataloader has no length. Set its end=..., in "
            f"{'epochs' if unit == 'max_epochs' else 'iterations'}."
        )
    if cfg.get("convert_to_iter_based", False):
        if horizon.get("epoch_length") is None:
            raise ConfigError(
                f"param_scheduler {cfg.get('type')!r} has convert_to_iter_based=True, which needs the number of "
                "iterations in an epoch: train by epoch with a loader that has a length, or set by_epoch=False."
            )
        added["epoch_length"] = horizon["epoch_length"]
    return PARAM_SCHEDULERS.build(cfg, default_args=added)


def _needs_end(cfg: dict[str, Any]) -> bool:
    """Whether the values depend on where the scheduler ends; only one of our own table can be asked."""
    kind: Any = cfg.get("type")
    kind = PARAM_SCHEDULERS.get(kind) if isinstance(kind, str) else kind
    if not (isinstance(kind, type) and issubclass(kind, TableScheduler) and "schedule" in vars(kind)):
        return False
    taken_out = ("type", "convert_to_iter_based", "epoch_length", "param_name", "optimizer", "_scope_")
    given = {name: value for name, value in cfg.items() if name not in taken_out}
    try:
        ends = [kind.checked_settings({**given, "end": end}) for end in (INF, INF // 2)]
    except ConfigError:  # which the scheduler itself will raise
        return False
    return any(ends[0][name] != ends[1][name] for name in ends[0] if name != "end")


def load_states(schedulers: Sequence[Any], states: Sequence[Any]) -> list[str]:
    """Load states; says in words which settings are others than those that were saved.

    The settings of the config count: a value is a function of the counter, and training that goes on for longer has the
    values of the longer schedule from there on; with `defaults.saved_schedules` the saved ones do. A scheduler of
    another kind than those of the table goes on as saved.
    """
    texts = []
    for number, (scheduler, state) in enumerate(zip(schedulers, states, strict=True)):
        if not isinstance(scheduler, TableScheduler):
            scheduler.load_state_dict(state)
            continue
        own, by_epoch = scheduler.settings(), scheduler.by_epoch
        scheduler.load_state_dict(state)
        saved = scheduler.settings()
        changed = [f"{name}={own[name]!r} (was {saved[name]!r})" for name in own if own[name] != saved[name]]
        if not changed:
            continue
        name = f"param_scheduler number {number} (counted from 0), {type(scheduler).__name__}"
        if defaults.saved_schedules:
            texts.append(f"{name}, goes on as it was saved; the config has {', '.join(changed)}.")
            continue
        if by_epoch != scheduler.by_epoch:
            unit = "epochs" if scheduler.by_epoch else "iterations"
            texts.append(f"{name}, goes on as it was saved, because it counts {unit} there.")
            continue
        scheduler.take_settings(own)
        texts.append(f"{name}, goes on with the settings of the config: {', '.join(changed)}.")
    return texts
