"""Where Runner's keys name classes: place, config, registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from inspect import signature
from typing import Any, NamedTuple

from trainwright import registry
from trainwright.engine.loops import EvalLoop, ValLoop
from trainwright.engine.loops.named import is_named, is_named_evaluator
from trainwright.hooks import EMAHook
from trainwright.optim import DefaultOptimWrapperConstructor
from trainwright.registry import Registry
from trainwright.runner.builders import counts_epochs
from trainwright.runner.checks.problem import Where
from trainwright.runner.checks.resolve import resolve
from trainwright.runner.spec import default_strategy

Spec = Mapping[str, Any]
_STRATEGY_ARGS = ("work_dir", "experiment_name", "env_kwargs", "log_kwargs", "auto_scale_lr")


class Component(NamedTuple):
    """A config that Runner builds.

    `injected` are arguments that are added when it is built, `default` is the class that is built when no `type` is
    named, `taken_out` are keys that somebody else reads. Where `is_whole` is False others may add more arguments;
    `gets_first`: the first argument is added, whatever its name.
    """

    where: Where
    cfg: Any
    registry: Registry
    injected: tuple[str, ...] = ()
    default: str | None = None
    taken_out: tuple[str, ...] = ()
    is_whole: bool = True
    gets_first: bool = False

    @property
    def kind(self) -> Any:
        """The `type`, or the default."""
        return dict.get(self.cfg, "type", self.default)


def components(spec: Spec) -> Iterator[Component]:
    """All that `spec` names, in the order of the keys."""
    for component in _components(spec):
        if component.cfg is not None or isinstance(component.where[-1], int):
            yield component


def _components(spec: Spec) -> Iterator[Component]:
    for where, model in numbered(("model",), spec["model"]):
        yield Component(where, model, registry.MODELS)
    yield Component(("data_preprocessor",), spec["data_preprocessor"], registry.MODELS, is_whole=False)
    for name in ("train", "val", "test"):
        for where, loader in loaders(spec, name):
            if isinstance(loader, dict):
                yield from _loader_parts(where, loader)
    yield from loops(spec)
    yield from _optim_parts(spec)
    yield from schedulers(spec)
    for name in ("val", "test"):
        for where, evaluator, _ in evaluators(spec, name):
            yield from metrics(where, evaluator)
    for where, hook in hooks(spec):
        yield Component(where, hook, registry.HOOKS, taken_out=("priority",))
        average = _average(hook)
        if average is not None:
            yield Component(where, average, registry.MODELS, ("model",))
    yield Component(("log_processor",), spec["log_processor"], registry.LOG_PROCESSORS, default="LogProcessor")
    visualizer = spec["visualizer"]
    yield Component(("visualizer",), visualizer, registry.VISUALIZERS, ("name", "save_dir"), "Visualizer")
    yield Component(("strategy",), spec["strategy"], registry.STRATEGIES, _STRATEGY_ARGS, default_strategy(spec))


def numbered(where: Where, value: Any) -> Iterator[tuple[Where, Any]]:
    """The value itself, or each item of a list with its number."""
    if isinstance(value, (list, tuple)):
        yield from (((*where, n), item) for n, item in enumerate(value))
    else:
        yield where, value


def loaders(spec: Spec, part: str) -> Iterator[tuple[Where, Any]]:
    """The loader of training, validation or test; those of an evaluation may also be several, by name or in a list."""
    where, given = (f"{part}_dataloader",), spec[f"{part}_dataloader"]
    if part != "train" and is_named(given):
        yield from (((*where, name), loader) for name, loader in dict.items(given))
    else:
        yield from numbered(where, given)


def evaluators(spec: Spec, part: str) -> Iterator[tuple[Where, Any, str | None]]:
    """Place, config, and name of its set where it has one of its own; none where a loop of the user's reads them."""
    where, given, loader = (f"{part}_evaluator",), spec[f"{part}_evaluator"], spec[f"{part}_dataloader"]
    if given is None or (isinstance(loader, (list, tuple)) and not has_our_sets(spec, part)):
        return
    if not is_named_evaluator(given):
        yield where, given, None
    elif is_named(loader):
        yield from (((*where, name), evaluator, name) for name, evaluator in dict.items(given))


def has_our_sets(spec: Spec, part: str) -> bool:
    """Whether loaders and evaluators of ``val_cfg`` or ``test_cfg`` are read as our loops do."""
    cfg, default = spec[f"{part}_cfg"], "ValLoop" if part == "val" else "TestLoop"
    if not isinstance(cfg, dict):
        return cfg is None
    kind: Any = resolve((), dict.get(cfg, "type", default), registry.LOOPS).target
    return isinstance(kind, type) and kind.__init__ in (EvalLoop.__init__, ValLoop.__init__)  # type: ignore[misc]


def hooks(spec: Spec) -> Iterator[tuple[Where, Any]]:
    """Custom hooks, and the settings of default hooks that have any."""
    yield from (((*("default_hooks",), name), hook) for name, hook in dict.items(spec["default_hooks"] or {}))
    yield from numbered(("custom_hooks",), spec["custom_hooks"] or [])


def _average(hook: Any) -> dict[str, Any] | None:
    """The averaged model that an EMAHook hands its further arguments on to."""
    if not isinstance(hook, dict):
        return None
    kind: Any = resolve((), dict.get(hook, "type"), registry.HOOKS).target
    if not isinstance(kind, type) or kind.__init__ is not EMAHook.__init__:  # type: ignore[misc]
        return None
    own = (*signature(EMAHook).parameters, "type", "priority")
    handed_on = {key: value for key, value in dict.items(hook) if key not in own}
    return {"type": dict.get(hook, "ema_type", "ExponentialMovingAverage"), **handed_on}


def _loader_parts(where: Where, loader: dict[Any, Any]) -> Iterator[Component]:
    part = {name: dict.get(loader, name) for name in ("dataset", "sampler", "batch_sampler")}
    yield Component((*where, "dataset"), part["dataset"], registry.DATASETS)
    yield Component((*where, "sampler"), part["sampler"], registry.DATA_SAMPLERS, ("dataset", "seed"))
    yield Component((*where, "batch_sampler"), part["batch_sampler"], registry.DATA_SAMPLERS, ("sampler", "batch_size"))
    for name in ("collate_fn", "worker_init_fn"):
        if isinstance(dict.get(loader, name), dict):
            yield Component((*where, name), dict.get(loader, name), registry.FUNCTIONS, is_whole=False)


def loops(spec: Spec) -> Iterator[Component]:
    """The three loops."""
    cfg = spec["train_cfg"]
    if isinstance(cfg, dict):
        by_epoch = counts_epochs(cfg)
        default = "IterBasedTrainLoop" if by_epoch is False else "EpochBasedTrainLoop"
        taken_out = ("by_epoch",) if "type" not in cfg else ()
        if "type" not in cfg and "max_epochs" in cfg:
            taken_out = (*taken_out, "max_iters")  # both are a problem that is reported in its own words
        yield Component(("train_cfg",), cfg, registry.LOOPS, ("runner", "dataloader"), default, taken_out)
    for name, default in (("val", "ValLoop"), ("test", "TestLoop")):
        injected = ("runner", "dataloader", "evaluator")
        if isinstance(spec[f"{name}_cfg"], dict):
            yield Component((f"{name}_cfg",), spec[f"{name}_cfg"], registry.LOOPS, injected, default)


def _optim_parts(spec: Spec) -> Iterator[Component]:
    cfg = spec["optim_wrapper"]
    if not isinstance(cfg, dict) or not ("optimizer" in cfg or "type" in cfg) or not has_known_constructor(cfg):
        return
    where = ("optim_wrapper",)
    taken_out = ("paramwise_cfg", "constructor")
    yield Component(where, cfg, registry.OPTIM_WRAPPERS, (), "OptimWrapper", taken_out)
    yield Component((*where, "optimizer"), dict.get(cfg, "optimizer"), registry.OPTIMIZERS, gets_first=True)


def has_known_constructor(cfg: dict[Any, Any]) -> bool:
    """Whether an optim_wrapper is built as DefaultOptimWrapperConstructor does: others may read it in their own way."""
    if dict.get(cfg, "constructor") is None:
        return True
    kind = resolve((), dict.get(cfg, "constructor"), registry.OPTIM_WRAPPER_CONSTRUCTORS).target
    if not isinstance(kind, type) or not issubclass(kind, DefaultOptimWrapperConstructor):
        return False
    ancestors = kind.__mro__[: kind.__mro__.index(DefaultOptimWrapperConstructor)]
    return not any(name in vars(cls) for cls in ancestors for name in ("__init__", "__call__"))


def schedulers(spec: Spec) -> Iterator[Component]:
    """The parameter schedulers: one, a list, or a dict of these by the name of their optimizer."""
    given = spec["param_scheduler"]
    if isinstance(given, dict) and "type" not in given:
        parts: Iterable[tuple[Where, Any]] = ((("param_scheduler", name), part) for name, part in dict.items(given))
    else:
        parts = [(("param_scheduler",), given)]
    for base, part in parts:
        for where, cfg in numbered(base, part):
            taken_out = ("convert_to_iter_based", "epoch_length")
            yield Component(where, cfg, registry.PARAM_SCHEDULERS, ("optimizer",), None, taken_out)


def metrics(where: Where, cfg: Any) -> Iterator[Component]:
    """An evaluator and its metrics."""
    if isinstance(cfg, dict) and "metrics" in cfg:
        yield Component(where, cfg, registry.EVALUATOR, (), "Evaluator")
        where, cfg = (*where, "metrics"), dict.get(cfg, "metrics")
    for place, item in numbered(where, cfg):
        yield Component(place, item, registry.METRICS)
