"""Ways to initialise weights: those of `trainwright.model`, in a registry of mmcv.cnn's name."""

from __future__ import annotations

from typing import Any

from torch import nn

from trainwright.base.errors import ConfigError
from trainwright.base.text import did_you_mean
from trainwright.checkpoint.pretrained import PretrainedInit
from trainwright.compat.mmcv1.errors import RuleError
from trainwright.compat.mmcv1.utils.registry import Registry, build_from_cfg
from trainwright.model import (
    BaseInit,
    Caffe2XavierInit,
    ConstantInit,
    KaimingInit,
    NormalInit,
    TruncNormalInit,
    UniformInit,
    XavierInit,
    bias_init_with_prob,
    caffe2_xavier_init,
    constant_init,
    kaiming_init,
    normal_init,
    trunc_normal_,
    trunc_normal_init,
    uniform_init,
    xavier_init,
)
from trainwright.model import initialize as initialize_by_classes
from trainwright.model import update_init_info as note_in_record

__all__ = [
    "INITIALIZERS",
    "BaseInit",
    "Caffe2XavierInit",
    "ConstantInit",
    "KaimingInit",
    "NormalInit",
    "PretrainedInit",
    "TruncNormalInit",
    "UniformInit",
    "XavierInit",
    "bias_init_with_prob",
    "build_from_cfg",
    "caffe2_xavier_init",
    "constant_init",
    "initialize",
    "kaiming_init",
    "normal_init",
    "trunc_normal_",
    "trunc_normal_init",
    "uniform_init",
    "update_init_info",
    "xavier_init",
]

INITIALIZERS = Registry("initializer")
for _kind in (ConstantInit, XavierInit, NormalInit, TruncNormalInit, UniformInit, KaimingInit, Caffe2XavierInit):
    INITIALIZERS.register_module(name=_kind.__name__.removesuffix("Init"), module=_kind)
INITIALIZERS.register_module(name="Pretrained", module=PretrainedInit)


class NoSuchModuleError(ConfigError, RuntimeError):
    """An `override` for what a module has not."""


def initialize(module: nn.Module, init_cfg: Any) -> None:
    """Initialise `module` by one config of INITIALIZERS, or several in their order; each may have an `override`."""
    if isinstance(init_cfg, (list, tuple)):
        return initialize_by_classes(module, [_with_classes(cfg, module) for cfg in init_cfg])
    return initialize_by_classes(module, _with_classes(init_cfg, module))


def _with_classes(cfg: Any, module: nn.Module) -> Any:
    """The config with the class in place of its registered name, here and in its overrides."""
    if not isinstance(cfg, dict):
        return cfg
    named = dict(cfg)
    kind = named.get("type")
    if isinstance(kind, str):
        found = INITIALIZERS.get(kind)
        if found is None:
            raise KeyError(
                f"{kind} is not in the {INITIALIZERS.name} registry.{did_you_mean(kind, INITIALIZERS.module_dict)}"
            )
        named["type"] = found
    override = named.get("override")
    for item in [override] if isinstance(override, dict) else override if isinstance(override, (list, tuple)) else []:
        name = item.get("name") if isinstance(item, dict) else None
        if name is not None and not hasattr(module, name):
            children = [child for child, _ in module.named_children()]
            raise NoSuchModuleError(
                f"override in init_cfg is for {name!r}, and {type(module).__name__} did not have attribute {name}."
                f"{did_you_mean(name, children)}"
            )
    if isinstance(override, dict):
        named["override"] = _with_classes(override, module)
    elif isinstance(override, (list, tuple)):
        named["override"] = [_with_classes(item, module) for item in override]
    return named


def update_init_info(module: nn.Module, init_info: str) -> None:
    """Note how the parameters that have changed got their values, while `init_weights` runs."""
    try:
        note_in_record(module, init_info)
    except ConfigError as error:
        raise RuleError(str(error)) from error
