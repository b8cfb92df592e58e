"""Everything about a run that can be known to be wrong before anything is built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from trainwright import registry
from trainwright.base.errors import CheckpointError, ConfigError, ConfigTypeError, RegistryError
from trainwright.base.text import did_you_mean
from trainwright.checkpoint import check_file
from trainwright.data.builder import checked_options
from trainwright.registry import Registry, argument_errors
from trainwright.runner.builders import merge_default_hooks
from trainwright.runner.hooking import DEFAULT_HOOKS
from trainwright.strategies import Randomness, check_launcher

Spec = Mapping[str, Any]
_ENV_KEYS = ("cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit")
_BY_EPOCH_UNITS = {True: ("max_epochs", "max_iters"), False: ("max_iters", "max_epochs")}


def check_parts(spec: Spec) -> None:
    """Parts that go together: loader, loop and optimizer for training; loader, loop and evaluator for evaluation."""
    groups = {
        "training": ("train_dataloader", "train_cfg", "optim_wrapper"),
        "validation": ("val_dataloader", "val_cfg", "val_evaluator"),
        "testing": ("test_dataloader", "test_cfg", "test_evaluator"),
    }
    problems = []
    for what, names in groups.items():
        missing = [name for name in names if spec[name] is None]
        if missing and len(missing) < len(names):
            given = [name for name in names if name not in missing]
            problems.append(
                f"{what} needs {', '.join(names)} together: {' and '.join(given)} given, {' and '.join(missing)} "
                f"missing. Add {' and '.join(missing)}, or leave out all three."
            )
    if spec["param_scheduler"] is not None and spec["optim_wrapper"] is None:
        problems.append("param_scheduler is given without an optim_wrapper whose parameters it could change.")
    if problems:
        raise ConfigError("\n".join(problems))


def check_runner_args(spec: Spec) -> None:
    """Check every config among the runner's arguments; raises one ConfigError that lists all problems.

    Unknown names of classes, unknown, missing or contradictory settings, files that are not there. A single problem is
    raised as itself (a RegistryError for an unknown name). Objects that are built already are not looked into.
    """
    problems: list[Exception] = []
    for check in (_check_settings, _check_train_cfg, _check_checkpoint, _check_classes):
        problems += check(spec)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        listed = "\n".join(f"{i}. {error}" for i, error in enumerate(problems, 1))
        raise ConfigTypeError(f"the config has {len(problems)} problems:\n{listed}")


def _attempt(check: Callable[..., Any], *args: Any) -> list[Exception]:
    try:
        check(*args)
    except (ConfigError, RegistryError) as error:
        return [error]
    return []


def _check_settings(spec: Spec) -> list[Exception]:
    problems = _attempt(check_launcher, spec["launcher"])
    problems += _attempt(Randomness.from_cfg, spec["randomness"] or {})
    problems += _attempt(merge_default_hooks, DEFAULT_HOOKS, spec["default_hooks"])
    problems += _attempt(_check_auto_scale_lr, spec["auto_scale_lr"] or {})
    for key in spec["env_cfg"] or {}:
        if key not in _ENV_KEYS:
            problems.append(
                ConfigError(
                    f"env_cfg has no setting {key!r}; it takes {', '.join(_ENV_KEYS)}.{did_you_mean(key, _ENV_KEYS)}"
                )
            )
    return problems


def _check_auto_scale_lr(cfg: dict[str, Any]) -> None:
    known = ("enable", "base_batch_size")
    for key in cfg:
        if key not in known:
            raise ConfigError(
                f"auto_scale_lr has no setting {key!r}; it takes {' and '.join(known)}.{did_you_mean(key, known)}"
            )
    if cfg.get("enable") and "base_batch_size" not in cfg:
        raise ConfigError(f"auto_scale_lr {dict(cfg)!r} lacks base_batch_size, the batch size that the lr is for.")


def _check_train_cfg(spec: Spec) -> list[Exception]:
    cfg = spec["train_cfg"]
    if not isinstance(cfg, dict) or "type" in cfg:
        return []
    if "max_epochs" in cfg and "max_iters" in cfg:
        return [
            ConfigError(
                f"train_cfg has both max_epochs={cfg['max_epochs']} and max_iters={cfg['max_iters']}: training is "
                "counted in one unit. Keep max_epochs with by_epoch=True, or max_iters with by_epoch=False."
            )
        ]
    by_epoch = cfg.get("by_epoch")
    if not isinstance(by_epoch, bool):
        return [ConfigError("train_cfg needs by_epoch=True or by_epoch=False, or the type of a loop.")]
    wanted, other = _BY_EPOCH_UNITS[by_epoch]
    if wanted not in cfg:
        hint = f", but has {other}: set by_epoch={not by_epoch}, or use {wanted}." if other in cfg else "."
        return [ConfigError(f"train_cfg with by_epoch={by_epoch} needs {wanted}{hint}")]
    return []


def _check_checkpoint(spec: Spec) -> list[Exception]:
    paths = [value for value in (spec["load_from"], spec["resume"]) if isinstance(value, str)]
    problems: list[Exception] = []
    for path in paths:
        try:
            check_file(path)
        except CheckpointError as error:  # noqa: PERF203 - two files at most
            problems.append(error)
    return problems


def _check_classes(spec: Spec) -> list[Exception]:
    problems: list[Exception] = []
    for where, cfg, reg, injected, default in _named_classes(spec):
        problems += _check_class(where, cfg, reg, injected, default)
    for name in ("train", "val", "test"):
        loader = spec[f"{name}_dataloader"]
        if isinstance(loader, dict):
            problems += _attempt(_check_loader, f"{name}_dataloader", loader)
    return problems


def _check_loader(where: str, loader: dict[str, Any]) -> None:
    try:
        checked_options(loader)
    except (ConfigError, RegistryError) as error:
        raise type(error)(f"{where}: {error}") from error


Row = tuple[str, Any, Registry, tuple[str, ...], str | None]


def _named_classes(spec: Spec) -> Iterable[Row]:
    """Where a class is named: place, config, registry, arguments added when it is built, default ``type``."""
    yield "model", spec["model"], registry.MODELS, (), None
    for name in ("train", "val", "test"):
        loader = spec[f"{name}_dataloader"]
        if isinstance(loader, dict):
            yield from _loader_classes(f"{name}_dataloader", loader)
    yield from _loop_classes(spec)
    yield from _optim_classes(spec)
    for name in ("val_evaluator", "test_evaluator"):
        yield from _metric_classes(name, spec[name])
    for i, hook in enumerate(spec["custom_hooks"] or []):
        yield f"custom_hooks[{i}]", _without(hook, "priority"), registry.HOOKS, (), None
    for name, hook in (spec["default_hooks"] or {}).items():
        yield f"default_hooks.{name}", _without(hook, "priority"), registry.HOOKS, (), None
    yield "log_processor", spec["log_processor"], registry.LOG_PROCESSORS, (), "LogProcessor"
    yield "visualizer", spec["visualizer"], registry.VISUALIZERS, ("name", "save_dir"), "Visualizer"
    strategy_args = ("work_dir", "experiment_name", "env_kwargs", "log_kwargs", "auto_scale_lr")
    yield "strategy", spec["strategy"], registry.STRATEGIES, strategy_args, "SingleDeviceStrategy"


def _loader_classes(where: str, loader: dict[str, Any]) -> Iterable[Row]:
    yield f"{where}.dataset", loader.get("dataset"), registry.DATASETS, (), None
    yield f"{where}.sampler", loader.get("sampler"), registry.DATA_SAMPLERS, ("dataset", "seed"), None
    batch_sampler = loader.get("batch_sampler")
    yield f"{where}.batch_sampler", batch_sampler, registry.DATA_SAMPLERS, ("sampler", "batch_size"), None


def _loop_classes(spec: Spec) -> Iterable[Row]:
    cfg = spec["train_cfg"]
    if isinstance(cfg, dict):
        default = "EpochBasedTrainLoop" if cfg.get("by_epoch", True) else "IterBasedTrainLoop"
        settings = _without(cfg, "by_epoch")
        if "type" not in cfg and "max_epochs" in cfg:
            settings = _without(settings, "max_iters")  # both are a problem that is reported in its own words
        yield "train_cfg", settings, registry.LOOPS, ("runner", "dataloader"), default
    for name, default in (("val", "ValLoop"), ("test", "TestLoop")):
        yield f"{name}_cfg", spec[f"{name}_cfg"], registry.LOOPS, ("runner", "dataloader", "evaluator"), default


def _optim_classes(spec: Spec) -> Iterable[Row]:
    cfg = spec["optim_wrapper"]
    if isinstance(cfg, dict) and ("optimizer" in cfg or "type" in cfg) and "constructor" not in cfg:
        wrapper = _without(cfg, "paramwise_cfg")
        yield "optim_wrapper", wrapper, registry.OPTIM_WRAPPERS, (), "OptimWrapper"
        yield "optim_wrapper.optimizer", cfg.get("optimizer"), registry.OPTIMIZERS, ("params",), None
    schedulers = spec["param_scheduler"]
    if isinstance(schedulers, dict) and "type" not in schedulers:
        items: Any = [item for part in schedulers.values() for item in (part if isinstance(part, list) else [part])]
    else:
        items = schedulers if isinstance(schedulers, (list, tuple)) else [schedulers]
    for i, item in enumerate(items):
        where = "param_scheduler" if len(items) == 1 else f"param_scheduler[{i}]"
        yield where, _without(item, "convert_to_iter_based"), registry.PARAM_SCHEDULERS, ("optimizer",), None


def _metric_classes(where: str, cfg: Any) -> Iterable[Row]:
    if isinstance(cfg, dict) and "metrics" in cfg:
        yield where, cfg, registry.EVALUATOR, (), "Evaluator"
        cfg = cfg["metrics"]
    for i, item in enumerate(cfg if isinstance(cfg, (list, tuple)) else [cfg]):
        yield (where if isinstance(cfg, dict) else f"{where}[{i}]"), item, registry.METRICS, (), None


def _without(cfg: Any, key: str) -> Any:
    return {k: v for k, v in cfg.items() if k != key} if isinstance(cfg, dict) else cfg


def _check_class(
    where: str, cfg: Any, reg: Registry, injected: tuple[str, ...], default: str | None
) -> list[Exception]:
    """Look the class up and hold the settings against its signature; no instance is made."""
    if not isinstance(cfg, dict):
        return []
    kind = cfg.get("type", default)
    if kind is None:
        example = next(iter(reg.module_dict), "...")
        return [
            ConfigError(
                f"{where} is a dict without the key 'type', which names its class. Add for example type={example!r}."
            )
        ]
    if isinstance(kind, str):
        try:
            with reg.switch_scope_and_registry(cfg.get("_scope_")) as found:
                kind = found.resolve(kind)
        except RegistryError as error:
            return [RegistryError(f"{where}: {error}")]
    arguments = {key: value for key, value in cfg.items() if key not in ("type", "_scope_")}
    added = [name for name in injected if name not in arguments]
    wrong = argument_errors(kind, arguments, [name for name in added if _accepts(kind, name)])
    name = getattr(kind, "__name__", str(kind))
    return [ConfigTypeError(f"{where}: {name}: {text}") for text in wrong]


def _accepts(kind: Any, name: str) -> bool:
    return not any(f"unknown argument {name!r}" in text for text in argument_errors(kind, {name: None}))
