"""Objects from configs, as ``Runner.build_*`` gives them; a built object passes through."""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader

from trainwright.base.durations import EPOCHS, ITERATIONS, parse_duration
from trainwright.base.errors import ConfigError, ConfigTypeError, MissingPartError
from trainwright.base.instances import ManagerMixin
from trainwright.base.text import did_you_mean
from trainwright.data import build_dataloader
from trainwright.engine import EpochBasedTrainLoop, Hook, IterBasedTrainLoop
from trainwright.engine.loops import BaseLoop
from trainwright.evaluation import Evaluator
from trainwright.registry import EVALUATOR, HOOKS, LOG_PROCESSORS, LOOPS, VISUALIZERS
from trainwright.runner.log_processor import LogProcessor
from trainwright.visualization import Visualizer


def build_train_loop(runner: Any, loop: Any, dataloader: Any) -> BaseLoop:
    """The loop of ``train_cfg``: its ``type``, or by ``by_epoch`` one of the two that we have."""
    if isinstance(loop, BaseLoop):
        return loop
    cfg = _as_dict(loop, "train_cfg")
    if "type" in cfg and "by_epoch" in cfg:
        raise MissingPartError(
            f"Only one of type and by_epoch can be said: train_cfg has both, type={cfg['type']!r} and "
            f"by_epoch={cfg['by_epoch']!r}. by_epoch chooses the loop when no type is named. Drop one of them."
        )
    _check_built(dataloader)
    args: dict[str, Any] = {"runner": runner, "dataloader": dataloader}
    if "type" in cfg:
        return LOOPS.build(cfg, default_args=args)  # type: ignore[no-any-return]
    by_epoch = counts_epochs(cfg)
    cfg.pop("by_epoch", None)
    if by_epoch is None:
        raise ConfigError("train_cfg needs by_epoch=True or by_epoch=False, or the type of a loop, but has neither.")
    args["type"] = EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop
    return LOOPS.build(cfg, default_args=args)  # type: ignore[no-any-return]


def counts_epochs(train_cfg: Any) -> bool | None:
    """What ``by_epoch`` of ``train_cfg`` says, or else the unit of ``max_duration``; None where neither does."""
    if not isinstance(train_cfg, dict):
        return None
    given, duration = dict.get(train_cfg, "by_epoch"), dict.get(train_cfg, "max_duration")
    if given is not None or not isinstance(duration, str):
        return given
    try:
        kind = parse_duration(duration, "max_duration").kind
    except ConfigError:  # which the loop's own reading of it reports
        return None
    return {EPOCHS: True, ITERATIONS: False}.get(kind)


def build_eval_loop(runner: Any, name: str, loop: Any, dataloader: Any, evaluator: Any) -> BaseLoop:
    """The loop of ``val_cfg`` or ``test_cfg``; without a ``type`` it is ValLoop or TestLoop."""
    if isinstance(loop, BaseLoop):
        return loop
    _as_dict(loop, f"{name}_cfg")
    _refuse_skipping(name, dataloader)
    _check_built(dataloader)
    args = {"runner": runner, "dataloader": dataloader, "evaluator": evaluator}
    args["type"] = "ValLoop" if name == "val" else "TestLoop"
    return LOOPS.build(loop, default_args=args)  # type: ignore[no-any-return]


def _each(dataloader: Any) -> list[Any]:
    several = isinstance(dataloader, dict) and "dataset" not in dataloader
    return list(dataloader.values()) if several else [dataloader]


def _check_built(dataloader: Any) -> None:
    """ConfigError for a loader, made before the strategy, that gives ranks of one tensor group different samples."""
    for loader in _each(dataloader):
        if isinstance(loader, DataLoader):
            build_dataloader(loader)


def _refuse_skipping(name: str, dataloader: Any) -> None:
    for cfg in _each(dataloader):
        policy = cfg.get("on_sample_error", "raise") if isinstance(cfg, dict) else "raise"
        if policy != "raise":
            raise ConfigError(
                f"{name}_dataloader has on_sample_error={policy!r}, which puts another sample in the place of one, and "
                "an evaluation would count it twice: leave it out there, it is for train_dataloader"
            )


def build_evaluator(evaluator: Any) -> Any:
    """An evaluator from one metric's config, a list of them, or a config with ``metrics``."""
    if isinstance(evaluator, Evaluator):
        return evaluator
    if isinstance(evaluator, dict) and "metrics" in evaluator:
        return EVALUATOR.build(evaluator, default_args={"type": "Evaluator"})
    if isinstance(evaluator, (dict, list)):
        return EVALUATOR.build({"type": "Evaluator", "metrics": evaluator})
    if hasattr(evaluator, "evaluate") and hasattr(evaluator, "process"):
        return evaluator
    raise ConfigTypeError(
        f"evaluator should be one of Evaluator, a dict or a list of dicts, but got {evaluator!r}. Example: "
        "val_evaluator=dict(type='Accuracy')."
    )


def build_log_processor(log_processor: Any) -> Any:
    """The log processor of a config, LogProcessor when no ``type`` is named."""
    if isinstance(log_processor, LogProcessor):
        return log_processor
    _as_dict(log_processor, "log_processor")
    return LOG_PROCESSORS.build(log_processor, default_args={"type": "LogProcessor"})


def build_visualizer(cfg: Any, name: str, save_dir: str) -> Any:
    """The visualizer of a config; by default one that writes JSON lines under ``save_dir/vis_data``."""
    if isinstance(cfg, Visualizer):
        return cfg
    given = {"type": "Visualizer", "vis_backends": [{"type": "LocalVisBackend"}]} if cfg is None else cfg
    full = _as_dict(given, "visualizer")
    full.setdefault("type", "Visualizer")
    full.setdefault("name", name)
    full.setdefault("save_dir", save_dir)
    found = VISUALIZERS.get(full["type"]) if isinstance(full["type"], str) else full["type"]
    kind = found if isinstance(found, type) and issubclass(found, ManagerMixin) else Visualizer
    for owner in (kind, Visualizer):
        if owner.check_instance_created(full["name"]):  # an earlier run's, which goes on writing to its own folder
            owner.get_instance(full["name"]).forget()
    return VISUALIZERS.build(full)


def build_hook(hook: Any) -> tuple[Any, Any]:
    """A hook and the priority that its config names; None where the hook's own counts."""
    if isinstance(hook, Hook):
        return hook, None
    if not isinstance(hook, dict):
        raise ConfigTypeError(f"hook should be an instance of Hook or dict, but got {hook!r}.")
    cfg = dict(hook)
    priority = cfg.pop("priority", None)
    return HOOKS.build(cfg), priority


def merge_default_hooks(defaults: dict[str, Any], hooks: dict[str, Any] | None) -> dict[str, Any]:
    """``hooks`` over ``defaults``; a None takes one out, and must name one that is there."""
    merged = dict(defaults)
    for name, value in (hooks or {}).items():
        if value is not None:
            merged[name] = value
        elif name in merged:
            del merged[name]
        else:
            raise ConfigError(
                f"default_hooks has {name}=None, which takes a default hook out, but there is none of that name: "
                f"{', '.join(defaults)}.{did_you_mean(name, defaults)}"
            )
    return merged


def _as_dict(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigTypeError(f"{name} should be a dict or a built object, but got {value!r}.")
    return dict(value)
