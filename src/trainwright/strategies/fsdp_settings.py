"""The settings of FSDPStrategy, and what those that MMEngine's configs have become under FSDP2."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from trainwright import dist
from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.text import did_you_mean
from trainwright.registry import FUNCTIONS
from trainwright.strategies.init_by_parts import InitByParts
from trainwright.strategies.mesh import shard_size

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
_PRECISION = ("param_dtype", "reduce_dtype", "output_dtype", "cast_forward_inputs")
_WRAPPERS = ("MMFullyShardedDataParallel", "FullyShardedDataParallel")
_LAYOUTS = {
    "full": "file",
    "FULL_STATE_DICT": "file",
    **dict.fromkeys(("local", "sharded", "LOCAL_STATE_DICT", "SHARDED_STATE_DICT"), "folder"),
}
_STRATEGIES: dict[str, dict[str, Any]] = {
    "FULL_SHARD": {"reshard_after_forward": True},
    "SHARD_GRAD_OP": {"reshard_after_forward": False},
    "HYBRID_SHARD": {"reshard_after_forward": True, "replicate": "nodes"},
    "_HYBRID_SHARD_ZERO2": {"reshard_after_forward": False, "replicate": "nodes"},
}
# Argument: (values that mean what FSDP2 does anyway, what it does instead of the others).
_WITHOUT_MEANING: dict[str, tuple[tuple[Any, ...], str]] = {
    "device_id": ((None,), "the device of a rank is the one that its launcher gave it"),
    "backward_prefetch": ((None, "BACKWARD_PRE"), "a unit is always gathered before the backward that needs it"),
    "forward_prefetch": ((None, False), "on a GPU units are gathered ahead as far as the host runs ahead"),
    "limit_all_gathers": ((None, True), "memory of gathered units is taken and given back in the order of the GPU"),
    "use_orig_params": ((None, True), "parameters are always the model's own, with their names"),
    "sync_module_states": ((None, True), "all ranks begin with the weights and buffers of rank 0, always"),
}
_REFUSED = {
    "process_group": "the groups are made by the strategy: replicate=..., the number of copies, divides the ranks",
    "device_mesh": "the mesh is made by the strategy: replicate=..., the number of copies, divides the ranks",
    "param_init_fn": "init_on='meta' of the strategy initialises as the model's own code does, part by part",
}
_MIXED = {
    "buffer_dtype": ((None, "float32", torch.float32), "buffers keep their type"),
    "keep_low_precision_grads": ((None, False), "gradients have the type of their parameters"),
    "cast_root_forward_inputs": ((None, True), "the inputs of each unit are cast, with cast_forward_inputs"),
}
_TAKEN = ("sharding_strategy", "cpu_offload", "auto_wrap_policy", "mixed_precision")
_IGNORED = ("ignored_modules", "ignored_parameters", "ignored_states")


def from_wrapper(cfg: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Arguments of FSDPStrategy for the ``model_wrapper`` of MMEngine's, and what is to be told about the others."""
    known = ("type", *_TAKEN, *_IGNORED, *_WITHOUT_MEANING, *_REFUSED)
    found: dict[str, Any] = {}
    told: list[str] = []
    for name, value in cfg.items():
        if name not in known:
            raise ConfigError(f"FSDPStrategy model_wrapper has no setting {name!r}.{did_you_mean(name, known)}")
        if name == "type" and getattr(value, "__name__", value) not in _WRAPPERS:
            raise ConfigError(
                f"FSDPStrategy model_wrapper type={value!r}: FSDP2 shards a model in place, without a wrapper, so that "
                f"only {' or '.join(_WRAPPERS)} is accepted here. DDPStrategy takes other wrappers."
            )
        if name in _REFUSED and value is not None:
            raise ConfigError(f"FSDPStrategy model_wrapper {name}={value!r} cannot be done: {_REFUSED[name]}.")
        told += _without_meaning(name, value, _WITHOUT_MEANING)
        if name in _IGNORED and value is not None:
            found["ignored"] = [*found.get("ignored", []), *_names(name, value)]
        elif name in _TAKEN and value is not None:
            found.update(_taken(name, value, told))
    return found, told


def layout_of(state_dict_cfg: Any) -> str:
    """The layout of checkpoints that ``state_dict_cfg`` asks for: 'file' or 'folder'."""
    kind = state_dict_cfg.get("state_dict_type", "local") if isinstance(state_dict_cfg, Mapping) else state_dict_cfg
    kind = getattr(kind, "name", kind)
    if not isinstance(kind, str) or kind not in _LAYOUTS:
        raise (ConfigError if isinstance(kind, str) else ConfigTypeError)(
            f"FSDPStrategy state_dict_cfg={state_dict_cfg!r} must be 'full' (one file), 'local' or 'sharded' (a folder "
            f"into which each rank writes its part), or a dict with state_dict_type.{did_you_mean(str(kind), _LAYOUTS)}"
        )
    return _LAYOUTS[kind]


def checkpointing_of(setting: Any) -> Any:
    """What ``activation_checkpointing`` says: True, names, or the function of MMEngine's ``dict(check_fn=...)``."""
    if not isinstance(setting, Mapping):
        return setting
    rest = dict(setting)
    check = function(rest.pop("check_fn", None), "activation_checkpointing check_fn")
    if rest or check is None:
        what = f"has {', '.join(map(repr, rest))}" if rest else "has no check_fn"
        raise ConfigError(
            f"FSDPStrategy activation_checkpointing {what}: it is True, names of modules or classes, or "
            "dict(check_fn=...), the name of a registered function that says of a module whether it is meant."
        )
    return check


def function(spec: Any, setting: str) -> Callable[..., Any] | None:
    """The function that a name, or a dict with ``type`` and arguments, means; a callable is taken as it is."""
    if spec is None or callable(spec):
        return spec  # type: ignore[no-any-return]
    arguments = dict(spec) if isinstance(spec, Mapping) else {"type": spec}
    kind = arguments.pop("type", None)
    found = FUNCTIONS.get(kind) if isinstance(kind, str) else kind
    if not callable(found):
        raise ConfigError(
            f"FSDPStrategy {setting}={spec!r} is no function: name one that is registered in FUNCTIONS, or its full "
            f"path.{did_you_mean(str(kind), list(FUNCTIONS.module_dict))}"
        )
    return partial(found, **arguments) if arguments else found


def precision_of(cfg: Mapping[str, Any], told: list[str] | None = None) -> dict[str, Any]:
    """Arguments of ``MixedPrecisionPolicy``; types by name."""
    found: dict[str, Any] = {}
    for name, value in cfg.items():
        if told is not None and name in _MIXED:
            told += _without_meaning(name, value, _MIXED, "mixed_precision")
            continue
        if name not in _PRECISION:
            raise ConfigError(
                f"mixed_precision has no setting {name!r}; it takes {', '.join(_PRECISION)}."
                f"{did_you_mean(name, _PRECISION)}"
            )
        if isinstance(value, str) and value not in _DTYPES:
            raise ConfigError(
                f"mixed_precision {name}={value!r} is none of {', '.join(_DTYPES)}.{did_you_mean(value, _DTYPES)}"
            )
        found[name] = _DTYPES.get(value, value) if isinstance(value, str) else value
    return found


def mesh_sizes(replicate: int | str, tensor: int) -> tuple[int, int]:
    """(copies, ranks that divide one); ``'nodes'`` is a copy a machine, as the launcher says how many there are."""
    if replicate == "nodes":
        local = int(os.environ.get("LOCAL_WORLD_SIZE", dist.get_world_size()))
        replicate = max(1, dist.get_world_size() // local)
    shard = shard_size(replicate, tensor)  # type: ignore[arg-type]
    if shard == 1 and dist.get_world_size() > 1:
        other = "TensorParallelStrategy" if replicate == 1 else "DDPStrategy"
        raise ConfigError(
            f"FSDPStrategy with replicate={replicate} and tensor groups of {tensor} leaves one rank of "
            f"{dist.get_world_size()} to divide a copy over, so nothing is sharded: take {other}, or more processes."
        )
    return int(replicate), shard


def init_by_parts(init_on: str, skip_init_weights: bool) -> InitByParts | None:
    """What builds the model, where it is not built whole."""
    if init_on not in ("device", "meta"):
        raise ConfigError(
            f"FSDPStrategy init_on={init_on!r} must be 'device', a whole model on each rank at first, or 'meta'."
            f"{did_you_mean(str(init_on), ('device', 'meta'))}"
        )
    if not isinstance(skip_init_weights, bool):
        raise ConfigTypeError(f"FSDPStrategy skip_init_weights must be True or False, but got {skip_init_weights!r}.")
    return InitByParts(skips=skip_init_weights) if init_on == "meta" or skip_init_weights else None


def _taken(name: str, value: Any, told: list[str]) -> dict[str, Any]:
    if name == "sharding_strategy":
        kind = getattr(value, "name", value)
        if kind == "NO_SHARD":
            raise ConfigError("FSDPStrategy sharding_strategy='NO_SHARD' shards nothing: take DDPStrategy.")
        if kind not in _STRATEGIES:
            raise ConfigError(
                f"FSDPStrategy sharding_strategy={value!r} is none of {', '.join(_STRATEGIES)}."
                f"{did_you_mean(str(kind), _STRATEGIES)}"
            )
        return dict(_STRATEGIES[kind])
    if name == "cpu_offload":
        offloads = value.get("offload_params", False) if isinstance(value, Mapping) else value
        return {"cpu_offload": bool(getattr(offloads, "offload_params", offloads))}
    if name == "auto_wrap_policy":
        return {"wrap_policy": function(value, "auto_wrap_policy")}
    settings = value if isinstance(value, Mapping) else vars(value)
    known = {key: one for key, one in settings.items() if one is not None and not key.startswith("_")}
    known.pop("module_classes_to_ignore", None)
    return {"mixed_precision": precision_of(known, told)}


def _names(name: str, value: Any) -> list[str]:
    names = [value] if isinstance(value, str) else list(value)
    if not all(isinstance(one, str) for one in names):
        raise ConfigError(f"FSDPStrategy {name} must be names of modules or parameters, but got {value!r}.")
    return names


def _without_meaning(
    name: str, value: Any, table: Mapping[str, tuple[tuple[Any, ...], str]], section: str = "model_wrapper"
) -> list[str]:
    if name not in table:
        return []
    same, instead = table[name]
    value = getattr(value, "name", value)
    if any(value is one or (type(value) is type(one) and value == one) for one in same):
        return []
    return [f"{section} {name}={value!r} has no meaning under FSDP2: {instead}."]
