"""Parts that go together, and the settings of Runner's own that are no classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trainwright.base.durations import EPOCHS, ITERATIONS, parse_duration
from trainwright.base.errors import ConfigError, ConfigTypeError, HookError, RegistryError, RuleError
from trainwright.base.text import brief, did_you_mean
from trainwright.data.builder import option_errors
from trainwright.engine import get_priority
from trainwright.engine.loops.base import limit_of
from trainwright.engine.loops.budget import planned_end
from trainwright.optim import DefaultOptimWrapperConstructor, OptimWrapper
from trainwright.optim.wrapper import checked_clip
from trainwright.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS
from trainwright.registry.annotations import wrong_types
from trainwright.runner.builders import counts_epochs, merge_default_hooks
from trainwright.runner.checks.components import has_known_constructor, hooks, loaders
from trainwright.runner.checks.problem import Problem, Where, caught
from trainwright.runner.checks.resolve import resolve
from trainwright.runner.fast_dev_run import n_batches
from trainwright.runner.preemption_cfg import PreemptionCfg
from trainwright.runner.resume_cfg import ResumeCfg
from trainwright.runner.spec import DEFAULT_HOOKS
from trainwright.runner.watchdog_cfg import WatchdogCfg
from trainwright.strategies import Randomness, check_launcher
from trainwright.strategies.environment import setup_environment

Spec = Mapping[str, Any]
GROUPS = {
    "training": ("train_dataloader", "train_cfg", "optim_wrapper"),
    "validation": ("val_dataloader", "val_cfg", "val_evaluator"),
    "testing": ("test_dataloader", "test_cfg", "test_evaluator"),
}
_ENV_KEYS = ("cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit", "preemption", "watchdog")
_FUNCTIONS = ("collate_fn", "worker_init_fn")
_MP_KEYS = ("mp_start_method", "opencv_num_threads")
_SCALE_KEYS = ("enable", "base_batch_size")
_BY_EPOCH_UNITS = {True: ("max_epochs", "max_iters"), False: ("max_iters", "max_epochs")}


def check_parts(spec: Spec) -> Iterator[Problem]:
    """Loader, loop and optimizer for training; loader, loop and evaluator for evaluation."""
    for what, names in GROUPS.items():
        missing = [name for name in names if spec[name] is None]
        if missing and len(missing) < len(names):
            given = [name for name in names if name not in missing]
            yield Problem(
                (given[0],),
                f"{what} needs {', '.join(names)}, which must be either all None or not None: {' and '.join(given)} "
                f"given, {' and '.join(missing)} missing. Add {' and '.join(missing)}, or leave out all three.",
            )
    if spec["param_scheduler"] is not None and spec["optim_wrapper"] is None:
        text = "should be None, as optim_wrapper is, whose parameters it could change; or give both."
        yield Problem(("param_scheduler",), text)


def check_settings(spec: Spec) -> Iterator[Problem]:
    """Launcher, randomness, environment, hooks' names and priorities, scaling of the lr, loaders, optim_wrapper."""
    found: list[Problem] = []
    if spec["launcher"] is not None:
        with caught(found, ("launcher",)):
            check_launcher(spec["launcher"])
    with caught(found, ("default_hooks",)):
        merge_default_hooks(DEFAULT_HOOKS, spec["default_hooks"])
    with caught(found, ("optim_wrapper", "paramwise_cfg")):
        _check_paramwise(spec["optim_wrapper"])
    with caught(found, ("optim_wrapper", "clip_grad")):
        _check_clipping(spec["optim_wrapper"])
    with caught(found, ("fast_dev_run",)):
        n_batches(spec["fast_dev_run"])
    yield from found
    yield from _check_priorities(spec)
    yield from _check_randomness(spec["randomness"] or {})
    yield from _check_resume(spec["resume_cfg"] or {})
    yield from _check_env(spec["env_cfg"] or {})
    yield from _check_auto_scale_lr(spec["auto_scale_lr"] or {})
    yield from _check_limits(spec)
    for part in ("train", "val", "test"):
        for where, loader in loaders(spec, part):
            if isinstance(loader, dict):
                yield from _check_loader(where, loader)


def _unknown(where: Where, what: str, cfg: Mapping[Any, Any], known: Iterable[str]) -> Iterator[Problem]:
    names = list(known)
    for key in cfg:
        if key not in names:
            text = f"{what} has no setting {key!r}; it takes {', '.join(names)}.{did_you_mean(str(key), names)}"
            yield Problem((*where, key), text)


def _wrong(where: Where, function: Any, cfg: Mapping[Any, Any]) -> Iterator[Problem]:
    for name, text in wrong_types(function, cfg):
        yield Problem((*where, name), text, error=ConfigTypeError)


def _check_randomness(cfg: dict[Any, Any]) -> Iterator[Problem]:
    known = list(Randomness.__dataclass_fields__)
    yield from _unknown(("randomness",), "randomness", cfg, known)
    rest = {key: value for key, value in dict.items(cfg) if key in known}
    yield from (problem for problem in _wrong(("randomness",), Randomness, rest) if problem.where[-1] != "seed")
    found: list[Problem] = []
    with caught(found, ("randomness", "seed")):
        Randomness.from_cfg({"seed": rest.get("seed")})
    yield from found


def _check_resume(cfg: dict[Any, Any]) -> Iterator[Problem]:
    for name, value in dict.items(cfg):
        found: list[Problem] = []
        with caught(found, ("resume_cfg", name)):
            ResumeCfg.from_cfg({name: value})
        yield from found


def _check_env(cfg: dict[Any, Any]) -> Iterator[Problem]:
    yield from _unknown(("env_cfg",), "env_cfg", cfg, _ENV_KEYS)
    yield from _wrong(("env_cfg",), setup_environment, dict(dict.items(cfg)))
    processes = dict.get(cfg, "mp_cfg")
    if isinstance(processes, dict):
        yield from _unknown(("env_cfg", "mp_cfg"), "mp_cfg", processes, _MP_KEYS)
    for name, settings in (("preemption", PreemptionCfg), ("watchdog", WatchdogCfg)):
        own = dict.get(cfg, name)
        if own is not None:
            yield from _check_settings(name, settings, own)


def _check_settings(name: str, settings: Any, cfg: Any) -> Iterator[Problem]:
    where = ("env_cfg", name)
    if not isinstance(cfg, dict):
        yield Problem(where, f"must be a dict, but got {brief(cfg)}.", error=ConfigTypeError)
        return
    wrong = list(_wrong(where, settings, dict(dict.items(cfg))))
    yield from wrong
    found: list[Problem] = []
    for key, value in dict.items(cfg):
        if all(problem.where[-1] != key for problem in wrong):
            with caught(found, (*where, key)):
                settings.from_cfg({key: value})
    yield from found


def _check_auto_scale_lr(cfg: dict[Any, Any]) -> Iterator[Problem]:
    yield from _unknown(("auto_scale_lr",), "auto_scale_lr", cfg, _SCALE_KEYS)
    if dict.get(cfg, "enable") and "base_batch_size" not in cfg:
        text = f"auto_scale_lr {dict(cfg)!r} lacks base_batch_size, the batch size that the lr is for."
        yield Problem(("auto_scale_lr",), text, error=RuleError)


def _check_priorities(spec: Spec) -> Iterator[Problem]:
    for where, hook in hooks(spec):
        priority: Any = dict.get(hook, "priority") if isinstance(hook, dict) else None
        if priority is not None:
            try:
                get_priority(priority)
            except (HookError, TypeError) as error:
                kind = HookError if isinstance(error, HookError) else ConfigTypeError
                yield Problem((*where, "priority"), str(error), error=kind)


def _check_paramwise(cfg: Any) -> None:
    if isinstance(cfg, dict) and dict.get(cfg, "paramwise_cfg") is not None and has_known_constructor(cfg):
        optimizer = dict.get(cfg, "optimizer")
        if isinstance(optimizer, dict) and "type" in optimizer:  # else that is reported by itself
            constructor = dict.get(cfg, "constructor") or DefaultOptimWrapperConstructor
            kind: Any = resolve((), constructor, OPTIM_WRAPPER_CONSTRUCTORS).target
            kind({"optimizer": optimizer}, dict.get(cfg, "paramwise_cfg"))  # the check of its own settings


def _check_clipping(cfg: Any) -> None:
    if isinstance(cfg, dict) and isinstance(dict.get(cfg, "clip_grad"), dict) and has_known_constructor(cfg):
        kind = resolve((), dict.get(cfg, "type", "OptimWrapper"), OPTIM_WRAPPERS).target
        if isinstance(kind, type) and issubclass(kind, OptimWrapper):
            checked_clip(dict.get(cfg, "clip_grad"))


def _check_loader(where: Where, loader: dict[Any, Any]) -> Iterator[Problem]:
    try:
        errors = list(option_errors(loader))
    except (ConfigError, RegistryError) as error:  # a function to be imported that cannot be
        errors = [(None, error)]
    for setting, wrong in errors:
        if setting in _FUNCTIONS and isinstance(dict.get(loader, setting), dict) and "type" in loader[setting]:
            continue  # looked at with the classes, argument by argument
        yield Problem(where if setting is None else (*where, setting), str(wrong), error=type(wrong))


def check_train_cfg(spec: Spec) -> Iterator[Problem]:
    """How long training is, where no class of a loop is named."""
    cfg = spec["train_cfg"]
    if not isinstance(cfg, dict):
        return
    where: Where = ("train_cfg",)
    by_epoch = dict.get(cfg, "by_epoch")
    if "type" in cfg:
        if "by_epoch" in cfg:
            yield Problem(
                (*where, "by_epoch"),
                f"train_cfg has both type={dict.get(cfg, 'type')!r} and by_epoch={by_epoch!r}: by_epoch chooses the "
                "loop when no type is named. Drop one of them.",
            )
        return
    if "max_epochs" in cfg and "max_iters" in cfg:
        yield Problem(
            where,
            f"train_cfg has both max_epochs={cfg['max_epochs']} and max_iters={cfg['max_iters']}: training is counted "
            "in one unit. Keep max_epochs with by_epoch=True, or max_iters with by_epoch=False.",
        )
        return
    duration = dict.get(cfg, "max_duration")
    if by_epoch is None and duration is not None:
        yield from _check_duration(where, duration)
        by_epoch = counts_epochs(cfg)
        if by_epoch is None:
            return
    if not isinstance(by_epoch, bool):
        yield Problem(where, "train_cfg needs by_epoch=True or by_epoch=False, or the type of a loop.")
        return
    wanted, other = _BY_EPOCH_UNITS[by_epoch]
    if wanted in cfg or duration is not None:
        found: list[Problem] = []
        last = dict.get(cfg, wanted)
        if last is None or isinstance(last, (int, float, str)):  # else its type is told with the loop's arguments
            with caught(found, (*where, "max_duration" if duration is not None else wanted)):
                planned_end(wanted, EPOCHS if by_epoch else ITERATIONS, last, duration, dict.get(cfg, "tokens"))
        yield from found
    else:
        hint = f", but has {other}: set by_epoch={not by_epoch}, or use {wanted}." if other in cfg else "."
        yield Problem(where, f"train_cfg with by_epoch={by_epoch} needs {wanted}{hint}")


def _check_duration(where: Where, duration: Any) -> Iterator[Problem]:
    """A max_duration without by_epoch: its unit must choose the loop."""
    found: list[Problem] = []
    with caught(found, (*where, "max_duration")):
        kind = parse_duration(duration, "max_duration").kind
        if kind not in (EPOCHS, ITERATIONS):
            raise ConfigError(
                f"max_duration={duration!r} ends either kind of training: say by_epoch=True (validation and "
                "checkpoints between epochs) or by_epoch=False (between iterations)."
            )
    yield from found


def _check_limits(spec: Spec) -> Iterator[Problem]:
    for name in ("train_cfg", "val_cfg", "test_cfg"):
        cfg = spec[name]
        if isinstance(cfg, dict) and "type" not in cfg:
            found: list[Problem] = []
            with caught(found, (name, "limit_batches")):
                limit_of(dict.get(cfg, "limit_batches"), f"{name}.limit_batches")
            yield from found
