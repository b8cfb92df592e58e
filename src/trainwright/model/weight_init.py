"""Ways to initialise weights: functions for one module, and classes that a config names for a tree of modules."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainwright.base.errors import ConfigError, ConfigTypeError, MissingPartError, RuleError, add_note
from trainwright.base.logs import print_log
from trainwright.base.text import any_of, did_you_mean, near_names
from trainwright.model.init_record import RECORD, update_init_info
from trainwright.registry import WEIGHT_INITIALIZERS, build_from_cfg

_WARNING = 30
_DISTRIBUTIONS = ("normal", "uniform")


# -- one module --------------------------------------------------------------------------------------------------------
def _fill(module: nn.Module, weight: Callable[[Tensor], Any], bias: float) -> None:
    """`weight` changes the module's weight, where it has one; its bias gets the value `bias`."""
    if getattr(module, "weight", None) is not None:
        weight(module.weight)  # type: ignore[arg-type]
    if getattr(module, "bias", None) is not None:
        nn.init.constant_(module.bias, bias)  # type: ignore[arg-type]


def _checked(distribution: str) -> str:
    if distribution not in _DISTRIBUTIONS:
        raise RuleError(
            f"distribution must be 'normal' or 'uniform', got {distribution!r}."
            f"{did_you_mean(distribution, _DISTRIBUTIONS)}"
        )
    return distribution


def constant_init(module: nn.Module, val: float, bias: float = 0) -> None:
    """Weight `val`."""
    _fill(module, lambda weight: nn.init.constant_(weight, val), bias)


def xavier_init(module: nn.Module, gain: float = 1, bias: float = 0, distribution: str = "normal") -> None:
    """Weight by Glorot and Bengio 2010."""
    is_uniform = _checked(distribution) == "uniform"
    draw = nn.init.xavier_uniform_ if is_uniform else nn.init.xavier_normal_
    _fill(module, lambda weight: draw(weight, gain=gain), bias)


def normal_init(module: nn.Module, mean: float = 0, std: float = 1, bias: float = 0) -> None:
    """Weight from N(mean, std^2)."""
    _fill(module, lambda weight: nn.init.normal_(weight, mean, std), bias)


def trunc_normal_init(
    module: nn.Module, mean: float = 0, std: float = 1, a: float = -2, b: float = 2, bias: float = 0
) -> None:
    """Weight from N(mean, std^2) within [a, b]."""
    _fill(module, lambda weight: trunc_normal_(weight, mean, std, a, b), bias)


def uniform_init(module: nn.Module, a: float = 0, b: float = 1, bias: float = 0) -> None:
    """Weight from U(a, b)."""
    _fill(module, lambda weight: nn.init.uniform_(weight, a, b), bias)


def kaiming_init(
    module: nn.Module,
    a: float = 0,
    mode: str = "fan_out",
    nonlinearity: str = "relu",
    bias: float = 0,
    distribution: str = "normal",
) -> None:
    """Weight by He et al. 2015."""
    is_uniform = _checked(distribution) == "uniform"
    draw: Any = nn.init.kaiming_uniform_ if is_uniform else nn.init.kaiming_normal_
    _fill(module, lambda weight: draw(weight, a=a, mode=mode, nonlinearity=nonlinearity), bias)


def caffe2_xavier_init(module: nn.Module, bias: float = 0) -> None:
    """Weight as Caffe2's XavierFill draws it: torch's kaiming_uniform_ with a=1 and fan_in."""
    kaiming_init(module, a=1, mode="fan_in", nonlinearity="leaky_relu", bias=bias, distribution="uniform")


def bias_init_with_prob(prior_prob: float) -> float:
    """The bias with which a sigmoid gives `prior_prob`."""
    if not 0 < prior_prob < 1:
        raise ConfigError(f"the prior probability of a bias must lie between 0 and 1, both left out, got {prior_prob}.")
    return float(-np.log((1 - prior_prob) / prior_prob))


def trunc_normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Tensor:
    """Fill `tensor` from N(mean, std^2) within [a, b], by the inverse of the cumulative distribution.

    torch's function of that name draws until all values lie within, so it gives other numbers, and waits for the
    device each time it looks; this one draws once.
    """
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            f"trunc_normal_: mean={mean} lies more than two std={std} outside [{a}, {b}]; the values will be no normal "
            "distribution",
            stacklevel=2,
        )
    low, high = ((1 + math.erf((bound - mean) / std / math.sqrt(2.0))) / 2 for bound in (a, b))
    with torch.no_grad():
        tensor.uniform_(2 * low - 1, 2 * high - 1).erfinv_()
        return tensor.mul_(std * math.sqrt(2.0)).add_(mean).clamp_(min=a, max=b)


# -- a tree of modules -------------------------------------------------------------------------------------------------
class BaseInit:
    """Base of the initialisers. Called with a module, it initialises what in it is of a class named in `layer`, or
    derived directly from one; with ``wholemodule``, which an override sets, all of it.

    `bias_prob`: the bias with which a sigmoid gives that probability; it comes before `bias`. A subclass writes
    ``_init``, or ``__call__`` as a whole.
    """

    def __init__(
        self, *, bias: float = 0, bias_prob: float | None = None, layer: str | list[str] | None = None
    ) -> None:
        name = type(self).__name__
        if isinstance(bias, bool) or not isinstance(bias, (int, float)):
            raise ConfigTypeError(f"{name}: bias must be a number, got {bias!r}.")
        if bias_prob is not None and not isinstance(bias_prob, float):
            raise ConfigTypeError(f"{name}: bias_prob must be a float between 0 and 1, got {bias_prob!r}.")
        if layer is not None and not isinstance(layer, (str, list, tuple)):
            raise ConfigTypeError(f"{name}: layer must be a class name or a list of them, got {layer!r}.")
        self.wholemodule = False
        self.bias = bias if bias_prob is None else bias_init_with_prob(bias_prob)
        self.layer: list[str] = [layer] if isinstance(layer, str) else list(layer or [])

    def __call__(self, module: nn.Module) -> None:
        """Initialise what is meant of `module`, and note it in the record of ``init_weights``, where there is one."""
        names = set(self.layer)

        def visit(part: nn.Module) -> None:
            if self.wholemodule or not names.isdisjoint(_class_names(part)):
                self._init(part)

        module.apply(visit)
        if not self.wholemodule:
            _check_layers(self.layer, module)
        if hasattr(module, RECORD):
            update_init_info(module, self._get_init_info())

    def _init(self, module: nn.Module) -> None:
        raise NotImplementedError(f"{type(self).__name__} must write _init(module) or __call__(module)")

    def _get_init_info(self) -> str:
        own = {name: value for name, value in vars(self).items() if name not in ("wholemodule", "layer")}
        return f"{type(self).__name__}: {', '.join(f'{name}={value}' for name, value in sorted(own.items()))}"


@WEIGHT_INITIALIZERS.register_module(name="Constant")
class ConstantInit(BaseInit):
    """``constant_init``."""

    def __init__(self, val: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.val = val

    def _init(self, module: nn.Module) -> None:
        constant_init(module, self.val, self.bias)


@WEIGHT_INITIALIZERS.register_module(name="Xavier")
class XavierInit(BaseInit):
    """``xavier_init``."""

    def __init__(self, gain: float = 1, distribution: str = "normal", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gain = gain
        self.distribution = _checked(distribution)

    def _init(self, module: nn.Module) -> None:
        xavier_init(module, self.gain, self.bias, self.distribution)


@WEIGHT_INITIALIZERS.register_module(name="Normal")
class NormalInit(BaseInit):
    """``normal_init``."""

    def __init__(self, mean: float = 0, std: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean = mean
        self.std = std

    def _init(self, module: nn.Module) -> None:
        normal_init(module, self.mean, self.std, self.bias)


@WEIGHT_INITIALIZERS.register_module(name="TruncNormal")
class TruncNormalInit(BaseInit):
    """``trunc_normal_init``."""

    def __init__(self, mean: float = 0, std: float = 1, a: float = -2, b: float = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean = mean
        self.std = std
        self.a = a
        self.b = b

    def _init(self, module: nn.Module) -> None:
        trunc_normal_init(module, self.mean, self.std, self.a, self.b, self.bias)


@WEIGHT_INITIALIZERS.register_module(name="Uniform")
class UniformInit(BaseInit):
    """``uniform_init``."""

    def __init__(self, a: float = 0, b: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.a = a
        self.b = b

    def _init(self, module: nn.Module) -> None:
        uniform_init(module, self.a, self.b, self.bias)


@WEIGHT_INITIALIZERS.register_module(name="Kaiming")
class KaimingInit(BaseInit):
    """``kaiming_init``."""

    def __init__(
        self,
        a: float = 0,
        mode: str = "fan_out",
        nonlinearity: str = "relu",
        distribution: str = "normal",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.a = a
        self.mode = mode
        self.nonlinearity = nonlinearity
        self.distribution = _checked(distribution)

    def _init(self, module: nn.Module) -> None:
        kaiming_init(module, self.a, self.mode, self.nonlinearity, self.bias, self.distribution)


@WEIGHT_INITIALIZERS.register_module(name="Caffe2Xavier")
class Caffe2XavierInit(KaimingInit):
    """``caffe2_xavier_init``."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(a=1, mode="fan_in", nonlinearity="leaky_relu", distribution="uniform", **kwargs)


def _get_bases_name(module: nn.Module) -> list[str]:
    return [base.__name__ for base in type(module).__bases__]


def _class_names(module: nn.Module) -> list[str]:
    return [type(module).__name__, *_get_bases_name(module)]


def _check_layers(layers: list[str], module: nn.Module) -> None:
    """Refuse a name that no class has and that is nearly one of the module's; one that is not in it is no mistake."""
    there = list(dict.fromkeys(name for part in module.modules() for name in _class_names(part)))
    for layer in layers:
        near = [] if layer in there else near_names(layer, there)
        if near and layer not in _all_class_names(nn.Module):
            raise ConfigError(
                f"init_cfg of {type(module).__name__} names the layer {layer!r}, which is no class of a module in it, "
                f"nor anywhere.{any_of(near)}"
            )


def _all_class_names(cls: type) -> set[str]:
    names = {cls.__name__}
    waiting: list[type] = [cls]
    while waiting:
        children: list[type] = type.__subclasses__(waiting.pop())
        waiting += children
        names.update(child.__name__ for child in children)
    return names


# -- from configs ------------------------------------------------------------------------------------------------------
def initialize(module: nn.Module, init_cfg: dict[str, Any] | list[dict[str, Any]]) -> None:
    """Initialise `module` by one config of an initialiser, or several in their order.

    A config may have an ``override``: a dict, or a list of them, with the ``name`` of an attribute of `module` and
    either the config of another initialiser for it, or nothing more: then it is the same one, whatever its ``layer``.
    """
    if not isinstance(init_cfg, (dict, list, tuple)):
        raise ConfigTypeError(f"init_cfg must be a dict or a list of dicts, got {init_cfg!r}.")
    for cfg in [init_cfg] if isinstance(init_cfg, dict) else init_cfg:
        if not isinstance(cfg, dict):
            raise ConfigTypeError(f"init_cfg must be a dict or a list of dicts, but an item of the list is {cfg!r}.")
        own = copy.deepcopy(cfg)  # one config may serve many modules
        override = own.pop("override", None)
        _initialize(module, own, says_where=override is not None)
        if override is not None:
            own.pop("layer", None)
            _initialize_override(module, override, own)


def _initialize(module: nn.Module, cfg: dict[str, Any], wholemodule: bool = False, says_where: bool = False) -> None:
    init = build_from_cfg(cfg, WEIGHT_INITIALIZERS)
    init.wholemodule = wholemodule
    if isinstance(init, BaseInit) and not (wholemodule or says_where or init.layer):
        print_log(
            f"init_cfg {cfg!r} of {type(module).__name__} initialises nothing: it names no layer and has no override",
            "current",
            _WARNING,
        )
    try:
        init(module)
    except Exception as error:
        add_note(error, f"while initialising {type(module).__name__} by {cfg!r}")
        raise


def _initialize_override(module: nn.Module, override: Any, cfg: dict[str, Any]) -> None:
    owner = type(module).__name__
    if not isinstance(override, (dict, list, tuple)):
        raise ConfigTypeError(f"override in init_cfg of {owner} must be a dict or a list of dicts, got {override!r}.")
    for item in [override] if isinstance(override, dict) else override:
        own = dict(item)
        name = own.pop("name", None)
        if name is None:
            raise ConfigError(
                f"override in the init_cfg of {owner} must have a name, the attribute that it is for, got {item!r}."
            )
        if own and "type" not in own:
            raise ConfigError(
                f"override for {name!r} in the init_cfg of {owner} has arguments and no type: {item!r}. Name the "
                "initialiser, or leave only the name, for the one that is overridden."
            )
        part = getattr(module, name, None)
        if not isinstance(part, nn.Module):
            names = [child for child, _ in module.named_children()]
            found = (
                "has no such attribute" if part is None else f"has a {type(part).__name__} there, which is no module"
            )
            raise MissingPartError(
                f"override in the init_cfg of {owner} is for {name!r}, but {owner} {found}.{did_you_mean(name, names)}"
            )
        _initialize(part, own or cfg, wholemodule=True)
