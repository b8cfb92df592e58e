"""Named classes and their arguments: held against registries and signatures, at every depth, without an instance."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

from trainwright import registry
from trainwright.base.defaults import defaults
from trainwright.base.errors import ConfigKeyError, ConfigTypeError, RuleError
from trainwright.base.lazy import LazyObject
from trainwright.base.text import brief, near_names
from trainwright.data import Compose
from trainwright.model import BaseModel, BaseModule
from trainwright.registry import DefaultScope, Registry, argument_errors
from trainwright.registry.annotations import wrong_types
from trainwright.registry.signature import arguments_of, wrong_arguments
from trainwright.registry.unknown import suggestion
from trainwright.runner.checks.components import Component
from trainwright.runner.checks.problem import Level, Problem, Where, warning
from trainwright.runner.checks.resolve import family, find_anywhere, in_scope, resolve
from trainwright.visualization import Visualizer

_NO_ARGUMENTS = ("type", "_scope_", "_delete_")
# Values under these keys describe data or storage, not objects, or are read by a class in a way of its own.
_NO_COMPONENTS = ("metainfo", "meta", "metadata", "backend_args", "file_client_args", "data_prefix", "override")
_SCHEDULERS = "param_scheduler"
_PLAIN = (str, bytes, bool, int, float, complex, list, tuple, set, frozenset, type(None))


class Place(NamedTuple):
    """Where a nested config stands: the registry that its name is looked up in.

    `is_certain`: nothing else can stand there. `is_likely`: what the registry has by that name is what is meant, and
    gets the arguments. `must_be_known`: a name that nobody knows is told.
    """

    registry: Registry
    is_certain: bool = False
    is_likely: bool = True
    must_be_known: bool = False
    taken_out: tuple[str, ...] = ()


def check_component(component: Component) -> Iterator[Problem]:
    """A config that Runner builds: its class, its arguments, and what is nested in them."""
    cfg, where = component.cfg, component.where
    if not isinstance(cfg, dict):
        if isinstance(cfg, _PLAIN):
            yield _not_built(where, cfg)
        return
    kind = component.kind
    if kind is None:
        if component.is_whole:
            example = next(reversed(component.registry.module_dict), "...")  # rather one of the user's
            if where[0] == _SCHEDULERS:
                text = f"Each parameter scheduler should contain the key type, and this one has {brief(cfg)}."
                yield Problem(where, f"{text} Add for example type='MultiStepLR'.", error=RuleError)
                return
            text = f"has no key 'type', which names its class. Add for example type={example!r}."
            yield Problem(where, text, error=ConfigKeyError)
        return
    scope = dict.get(cfg, "_scope_")
    with DefaultScope.overwrite_default_scope(scope if isinstance(scope, str) else None):
        found = resolve((*where, "type") if "type" in cfg else where, kind, component.registry)
        yield from found.problems
        if found.target is None:
            return
        arguments = _arguments(cfg, component.taken_out)
        yield from _check_call(where, found.target, arguments, component)
        for key, value in arguments.items():
            yield from _nested((*where, key), key, value, component.registry, found.target)


def _not_built(where: Where, cfg: Any) -> Problem:
    if where[0] == _SCHEDULERS and len(where) == 2 and isinstance(where[1], str):
        text = (
            f"Each value of `param_scheduler` should be a scheduler, a dict or a list of these, but got {brief(cfg)}."
        )
        return Problem(where, text, error=RuleError)
    return Problem(where, f"must be a dict or a built object, but got {brief(cfg)}.", error=ConfigTypeError)


def _arguments(cfg: dict[Any, Any], taken_out: tuple[str, ...] = ()) -> dict[Any, Any]:
    return {key: value for key, value in dict.items(cfg) if key not in _NO_ARGUMENTS and key not in taken_out}


def _check_call(where: Where, target: Any, arguments: dict[Any, Any], component: Component) -> Iterator[Problem]:
    added = [name for name in component.injected if name not in arguments and _accepts(target, name)]
    if component.gets_first:
        taken = arguments_of(target)
        added += list(taken.by_name)[:1] if taken is not None else []
    for wrong in wrong_arguments(target, arguments, added):
        if wrong.kind == "unknown":
            yield Problem((*where, wrong.name), f"{_name(target)}: {wrong.text}", error=ConfigTypeError)
        elif component.is_whole:
            yield Problem(where, f"{_name(target)}: {wrong.text}", error=ConfigTypeError)
    yield from _check_types(where, target, arguments)


def _check_types(where: Where, target: Any, arguments: dict[Any, Any]) -> Iterator[Problem]:
    is_ours = str(getattr(target, "__module__", "")).startswith("trainwright.")
    for name, text in wrong_types(target, arguments):
        if not is_ours and _base_takes(target, name, arguments[name]):
            continue
        # Many a function takes None for "the usual", and its annotation does not say so.
        is_sure = arguments[name] is not None and (is_ours or defaults.trusts_annotations)
        level: Level = "error" if is_sure else "warning"
        yield Problem((*where, name), f"{_name(target)}: {text}", level, ConfigTypeError)


def _base_takes(target: Any, name: str, value: Any) -> bool:
    """Whether a class of ours below a user's says of its argument of that name that it may be this. Annotations of what
    is handed on are often wrong; those of OpenMMLab's visualizers call their list of backends a dict."""
    for base in inspect.getmro(target)[1:] if inspect.isclass(target) else ():
        known = arguments_of(base) if base.__module__.startswith("trainwright.") else None
        argument = known.by_name.get(name) if known is not None else None
        if argument is not None and argument.parameter.annotation is not inspect.Parameter.empty:
            return not wrong_types(base, {name: value})
    return False


def _accepts(target: Any, name: str) -> bool:
    return not any(f"unknown argument {name!r}" in text for text in argument_errors(target, {name: None}))


def _name(target: Any) -> str:
    return getattr(target, "__name__", str(target))


# -- nested configs ----------------------------------------------------------------------------------------------------


def _nested(where: Where, key: Any, value: Any, parent: Registry, owner: Any) -> Iterator[Problem]:
    """Configs of objects within the argument `key` of `owner`, a class of the registry `parent`."""
    if key in _NO_COMPONENTS:
        return
    if isinstance(value, (list, tuple)):
        for n, item in enumerate(value):
            yield from _nested((*where, n), key, item, parent, owner)
    elif isinstance(value, dict) and isinstance(dict.get(value, "type"), (str, LazyObject, type)):
        scope = dict.get(value, "_scope_")
        with DefaultScope.overwrite_default_scope(scope if isinstance(scope, str) else None):
            yield from _check_nested(where, value, parent, place_of(key, parent, owner))
    elif isinstance(value, dict):
        for name, item in dict.items(value):
            yield from _nested((*where, name), name, item, parent, owner)


def place_of(key: Any, parent: Registry, owner: Any) -> Place:
    """The registry for what stands under `key` in the config of a class of `parent`."""
    root = parent.root
    if key == "init_cfg":
        return Place(registry.WEIGHT_INITIALIZERS, _is_a(owner, BaseModule))
    if key == "vis_backends":
        return Place(registry.VISBACKENDS, _is_a(owner, Visualizer), taken_out=("name",))
    if key == "data_preprocessor":
        return Place(registry.MODELS, _is_a(owner, BaseModel))
    if root is registry.DATASETS and key in ("pipeline", "transforms"):
        return Place(registry.TRANSFORMS, must_be_known=True)
    if root is registry.DATASETS and key in ("dataset", "datasets"):
        return Place(registry.DATASETS, must_be_known=True)
    if root is registry.TRANSFORMS and key == "transforms":  # often those of another library
        return Place(registry.TRANSFORMS, _is_a(owner, Compose), _is_a(owner, Compose))
    # Of a `norm_cfg` and its like the parent takes some out, and gives the rest to what it knows by that name.
    return Place(parent, is_likely=not str(key).endswith("cfg"))


def _is_a(owner: Any, base: type) -> bool:
    return isinstance(owner, type) and issubclass(owner, base)


def _check_nested(where: Where, cfg: dict[Any, Any], parent: Registry, place: Place) -> Iterator[Problem]:
    kind = dict.get(cfg, "type")
    is_sure = place.is_likely
    if isinstance(kind, str) and not place.is_certain:
        found = resolve_anywhere((*where, "type"), kind, (place.registry, parent))
        target, is_sure = found.target, found.is_sure and place.is_likely
        yield from found.problems
        if target is None and not found.problems:
            yield from _unknown((*where, "type"), kind, place)
    else:
        resolved = resolve((*where, "type"), kind, place.registry)
        target = resolved.target
        yield from resolved.problems
    arguments = _arguments(cfg, place.taken_out)
    if target is not None:
        yield from _check_nested_call(where, target, arguments, is_sure)
    for key, value in arguments.items():
        yield from _nested((*where, key), key, value, place.registry, target)


class Anywhere(NamedTuple):
    """As `Resolved`; `is_sure` when it is the registry of the place that has the name."""

    target: Any
    is_sure: bool
    problems: list[Problem]


def resolve_anywhere(where: Where, name: str, first: tuple[Registry, ...]) -> Anywhere:
    """The class that is registered as `name`; where no registry has it, there is neither class nor problem."""
    try:
        return Anywhere(*find_anywhere(name, first), [])
    except Exception as error:  # noqa: BLE001 - as in `resolve`
        text = f"importing {name!r} failed. {type(error).__name__}: {error}"
        return Anywhere(None, False, [warning(where, text)])


def _unknown(where: Where, name: str, place: Place) -> Iterator[Problem]:
    """Whoever builds it may know the name. In a pipeline, or where it is nearly a known one, it is likely a slip."""
    near = suggestion(in_scope(place.registry), name)
    if place.must_be_known:
        yield warning(where, f"{name} is not in the {place.registry.name} registry, nor in any other.{near}")
    elif name[:1].isupper():
        known = [other for member in family(place.registry.root) for other in member.module_dict]
        if near_names(name, known, n=1, cutoff=0.8):
            yield warning(where, f"{name!r} is in no registry.{near}")


def _check_nested_call(where: Where, target: Any, arguments: dict[Any, Any], is_sure: bool) -> Iterator[Problem]:
    """Arguments that are missing are not judged: whoever builds it may add them, and may take others out."""
    for wrong in wrong_arguments(target, arguments):
        if wrong.kind == "unknown" and (is_sure or wrong.has_near):
            level: Level = "error" if is_sure and wrong.has_near else "warning"
            yield Problem((*where, wrong.name), f"{_name(target)}: {wrong.text}", level, ConfigTypeError)
    if is_sure:
        yield from _check_types(where, target, arguments)
