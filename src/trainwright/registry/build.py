"""Build functions: from a config dict to an object."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trainwright.base.defaults import defaults
from trainwright.base.errors import ConfigTypeError, RegistryError, RuleError, RuleTypeError, add_note
from trainwright.base.instances import ManagerMixin
from trainwright.base.lazy import LazyObject
from trainwright.base.places import find_place
from trainwright.registry.registry import Registry
from trainwright.registry.signature import argument_errors
from trainwright.registry.unknown import describe_place

_BUILT_FROM = "_trainwright_built_from"
_TOLD = "told"


def build_from_cfg(cfg: Any, registry: Registry, default_args: Any = None) -> Any:
    """Build what `cfg` describes. `cfg` is left as it is.

    Its key `type` is a registered name, a class or function, or a dotted path; `_scope_` switches the default scope
    for this object and what it builds; the other keys are the arguments, below which `default_args` are put. A
    LazyObject is imported, as `type` and as an argument. An error that the constructor raises keeps its type and gets a
    note that names the class, registry and file; `built_from` tells the config it came from.
    """
    args = _arguments(cfg, registry, default_args)
    with remembering(cfg), registry.switch_scope_and_registry(args.pop("_scope_", None)) as scoped:
        kind = args.pop("type")
        return _call(_target(kind, scoped), args, kind, scoped)


def built_from(error: BaseException) -> dict[Any, Any] | None:
    """The config dict, the very object, of the innermost component that was being built when `error` was raised."""
    found = getattr(error, _BUILT_FROM, None)
    return found if isinstance(found, dict) else None


def forget_config(error: BaseException) -> None:
    """Whoever has told the user where the config stands says so: nobody needs to tell it again."""
    setattr(error, _BUILT_FROM, _TOLD)


def build_model_from_cfg(cfg: Any, registry: Registry, default_args: Any = None) -> Any:
    """Build a model; a list of configs becomes the registered `Sequential` of what they build."""
    from trainwright.registry.root import MODELS

    if isinstance(cfg, (list, tuple)):
        sequential = registry.get("Sequential") or MODELS.resolve("Sequential")
        return sequential(*(build_from_cfg(part, registry, default_args) for part in cfg))
    return build_from_cfg(cfg, registry, default_args)


def build_runner_from_cfg(cfg: Any, registry: Registry) -> Any:
    """Build a runner by its class's `from_cfg(cfg)`; the key `runner_type` names the class, 'Runner' by default."""
    tree = _as_dict(cfg, "cfg")
    _check_registry(registry)
    kind = tree.get("runner_type", "Runner")
    with registry.switch_scope_and_registry(tree.get("_scope_")) as scoped:
        runner_class = _target(kind, scoped)
        return runner_class.from_cfg(cfg)


def build_optimizer_from_cfg(cfg: Any, registry: Registry, default_args: Any = None) -> Any:
    """Build an optimizer, as `build_from_cfg` builds anything."""
    return build_from_cfg(cfg, registry, default_args)


def build_scheduler_from_cfg(cfg: Any, registry: Registry, default_args: Any = None) -> Any:
    """Build a parameter scheduler.

    `convert_to_iter_based=True` with `epoch_length` turns one that counts epochs into one that counts iterations.
    """
    args = _arguments(cfg, registry, default_args)
    with remembering(cfg), registry.switch_scope_and_registry(args.pop("_scope_", None)) as scoped:
        kind = args.pop("type")
        target = _target(kind, scoped)
        if not args.pop("convert_to_iter_based", False):
            args.pop("epoch_length", None)
            return _call(target, args, kind, scoped)
        if args.get("epoch_length") is None or not args.get("by_epoch", True):
            raise RuleError(
                f"scheduler {kind!r}: convert_to_iter_based=True needs epoch_length and by_epoch=True, got "
                f"epoch_length={args.get('epoch_length')!r} and by_epoch={args.get('by_epoch', True)!r}"
            )
        return _call(target.build_iter_from_epoch, args, kind, scoped)


def _arguments(cfg: Any, registry: Registry, default_args: Any) -> dict[str, Any]:
    args = dict(dict.items(_as_dict(cfg, "cfg")))
    args.pop("_delete_", None)  # left over where a config had nothing to delete
    _check_registry(registry)
    for name, value in dict.items({} if default_args is None else _as_dict(default_args, "default_args")):
        args.setdefault(name, value)
    if "type" not in args:
        raise RegistryError(
            f'cfg or default_args must contain the key "type" to be built by {registry.name!r}, but got {args!r}'
        )
    return args


def _as_dict(value: Any, name: str) -> dict[Any, Any]:
    tree = getattr(value, "_cfg_dict", value)
    if not isinstance(tree, dict):
        kinds = "dict, ConfigDict or Config" if name == "cfg" else "dict, ConfigDict, Config or None"
        raise RuleTypeError(f"{name} should be a {kinds}, but got {type(value)}: {value!r}")
    return tree


def _check_registry(registry: Any) -> None:
    if not isinstance(registry, Registry):
        raise RuleTypeError(
            f"registry must be a {defaults.package}.Registry object, but got {type(registry)}: {registry!r}"
        )


@contextmanager
def remembering(cfg: Any) -> Iterator[None]:
    """An error that leaves the block tells which config it came from: the innermost one, which is left first."""
    try:
        yield
    except Exception as error:
        if not hasattr(error, _BUILT_FROM):
            tree = _as_dict(cfg, "cfg")
            place = find_place(tree)
            if place is not None:
                add_note(error, f"config: {place}")
            setattr(error, _BUILT_FROM, tree if place is None else _TOLD)
        raise


def _target(kind: Any, registry: Registry) -> Any:
    target = registry.resolve(kind) if isinstance(kind, str) else _imported(kind)
    if not callable(target):
        raise ConfigTypeError(
            f"type must be a str or valid type, but got {type(kind)}: {registry.name!r} builds what a name, a class or "
            f"a function stands for, and not {kind!r}"
        )
    return target


def _imported(value: Any) -> Any:
    return value.build() if isinstance(value, LazyObject) else value


def _call(target: Any, args: dict[str, Any], kind: Any, registry: Registry) -> Any:
    named = inspect.isclass(target) and issubclass(target, ManagerMixin)
    factory = target.get_instance if named else target
    args = {name: _imported(value) for name, value in args.items()}
    try:
        return factory(**args)
    except TypeError as error:
        wrong = argument_errors(target, args)
        if wrong:
            raise ConfigTypeError(f"cannot build {_shown(kind, registry, target)}. {' '.join(wrong)}") from error
        add_note(error, f"while building {_shown(kind, registry, target)}")
        raise
    except Exception as error:
        add_note(error, f"while building {_shown(kind, registry, target)}")
        raise


def _shown(kind: Any, registry: Registry, target: Any) -> str:
    name = kind if isinstance(kind, str) else getattr(target, "__name__", repr(kind))
    return f"{name!r} of the {registry.name!r} registry, {describe_place(target)}"
