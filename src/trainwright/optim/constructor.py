"""From a model and a config to an optim wrapper, with settings by parameter."""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.optim import Optimizer

from trainwright.base.defaults import defaults
from trainwright.base.errors import ConfigError, ConfigKeyError, ConfigTypeError, RuleError
from trainwright.base.lazy import LazyObject
from trainwright.base.logs import print_log
from trainwright.base.text import did_you_mean
from trainwright.optim.freezing import freeze, matched_name, only_freezes
from trainwright.optim.wrapper import BaseOptimWrapper
from trainwright.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from trainwright.registry.build import remembering

_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
_DEFORMABLE = {"DeformConv2d", "ModulatedDeformConv2d"}  # by name: the packages that have them stay optional
_LR_MULTS = ("bias_lr_mult", "dcn_offset_lr_mult")
_DECAY_MULTS = ("bias_decay_mult", "norm_decay_mult", "dwconv_decay_mult", "flat_decay_mult")
_OPTIMIZER = "an optimizer with a type, such as optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1))"
_KNOWN = ("custom_keys", *_LR_MULTS, *_DECAY_MULTS, "bypass_duplicate", "allow_unmatched_keys")


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DefaultOptimWrapperConstructor:
    """Builds one optimizer over a model's parameters, and its wrapper.

    Without ``paramwise_cfg`` all parameters form one group. With it each parameter gets a group of its own:

    - ``custom_keys``: ``{part of a parameter name: dict(lr_mult=, decay_mult=, requires_grad=, and entries of the
      group)}``; the longest key that a name contains decides, then the alphabet, and no rule below applies to that
      parameter. ``requires_grad=False`` freezes it: it gets no gradient, no group and no state of the optimizer. What
      else its module does goes on: a batch norm takes its statistics from the batches until it is in eval mode
    - ``bias_lr_mult``, ``bias_decay_mult``: biases outside norms and deformable convolutions
    - ``norm_decay_mult``: weights and biases of norms
    - ``dwconv_decay_mult``: depth-wise convolutions
    - ``dcn_offset_lr_mult``: offset layers of deformable convolutions
    - ``flat_decay_mult``: the remaining parameters of one dimension
    - ``bypass_duplicate``: take a parameter that several modules share once, instead of refusing it
    - ``allow_unmatched_keys``: warn of a custom key that no parameter name contains, instead of refusing it

    A subclass overrides :meth:`add_params` or the call itself; it may then give ``paramwise_cfg`` keys of its own, or
    name those that it adds to the ones above in ``own_keys``.
    """

    own_keys: tuple[str, ...] | None = ()  # None: any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if {"add_params", "__call__"} & vars(cls).keys() and "own_keys" not in vars(cls):
            cls.own_keys = None

    def __init__(self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None) -> None:
        if not isinstance(optim_wrapper_cfg, dict):
            raise ConfigTypeError(
                f"optim_wrapper must be a dict, got {optim_wrapper_cfg!r} of type {type(optim_wrapper_cfg).__name__}"
            )
        self.optim_wrapper_cfg = optim_wrapper_cfg.copy()
        self.optimizer_cfg = self.optim_wrapper_cfg.pop("optimizer", None)
        if not isinstance(self.optimizer_cfg, dict):
            raise RuleError(f"`optim_wrapper_cfg` must contain {_OPTIMIZER}, got optimizer={self.optimizer_cfg!r}")
        self.paramwise_cfg = {} if paramwise_cfg is None else paramwise_cfg
        self.base_lr = self.optimizer_cfg.get("lr")
        self.base_wd = self.optimizer_cfg.get("weight_decay")
        self._validate_cfg()
        if "type" not in self.optimizer_cfg:
            raise ConfigKeyError(f"`optim_wrapper_cfg` must contain {_OPTIMIZER}, got optimizer={self.optimizer_cfg!r}")

    def __call__(self, model: nn.Module) -> BaseOptimWrapper:
        """Build the optimizer over ``model`` (a wrapper's ``module`` if it has one) and the optim wrapper around it."""
        model = getattr(model, "module", model)
        if self.own_keys is not None:
            self._check_keys(model)
        freeze(model, self._custom_keys, self._custom_key)
        wrapper_cfg = {"type": "OptimWrapper", **self.optim_wrapper_cfg}
        optimizer_cfg = dict(self.optimizer_cfg)
        optimizer_cfg[self._params_argument()] = self._parameters(model)
        optimizer = OPTIMIZERS.build(optimizer_cfg)
        wrapper: BaseOptimWrapper = OPTIM_WRAPPERS.build(wrapper_cfg, default_args={"optimizer": optimizer})
        return wrapper

    def add_params(
        self,
        params: list[dict[str, Any]],
        module: nn.Module,
        prefix: str = "",
        is_dcn_module: bool | None = None,
    ) -> None:
        """Append one group for each trainable parameter of ``module`` and its children.

        ``prefix`` is the name of ``module``; ``is_dcn_module``: whether the parent is a deformable convolution.
        """
        for name, param in module.named_parameters(recurse=False):
            group: dict[str, Any] = {"params": [param]}
            if self.paramwise_cfg.get("bypass_duplicate", False) and self._is_in(group, params):
                print_log(
                    f"{prefix} is duplicate. It is skipped since bypass_duplicate=True: its {name} has a group already",
                    logger="current",
                    level=logging.WARNING,
                )
                continue
            if not param.requires_grad:
                continue
            key = self._custom_key(f"{prefix}.{name}")
            if key is None:
                group.update(self._rules(module, name, prefix, param.ndim == 1, bool(is_dcn_module)))
            else:
                group.update(self._custom(self._custom_keys[key]))
            params.append(group)
            settings = {k: v for k, v in group.items() if k != "params"}
            if settings:
                print_log(f"{prefix}.{name}".lstrip(".") + f": {settings}", logger="current", level=logging.DEBUG)
        is_dcn = any(cls.__name__ in _DEFORMABLE for cls in type(module).__mro__)
        for name, child in module.named_children():
            self.add_params(params, child, prefix=f"{prefix}.{name}" if prefix else name, is_dcn_module=is_dcn)

    @property
    def _custom_keys(self) -> dict[str, Any]:
        keys: dict[str, Any] = self.paramwise_cfg.get("custom_keys", {})
        return keys

    def _custom_key(self, full_name: str) -> str | None:
        """The custom key that decides for a parameter: longest first, then by alphabet."""
        matching = [key for key in self._custom_keys if key in full_name]
        return min(matching, key=lambda key: (-len(key), key)) if matching else None

    def _custom(self, settings: dict[str, Any]) -> dict[str, Any]:
        group: dict[str, Any] = {}
        if self.base_lr is not None:
            group["lr"] = self.base_lr * settings.get("lr_mult", 1.0)
        if self.base_wd is not None:
            group["weight_decay"] = self.base_wd * settings.get("decay_mult", 1.0)
        return {**group, **{key: value for key, value in settings.items() if key != "requires_grad"}}

    def _rules(self, module: nn.Module, name: str, prefix: str, flat: bool, is_dcn: bool) -> dict[str, Any]:
        """Settings of a parameter that no custom key names; later rules of one setting give way to earlier ones."""
        mult = {key: value for key, value in self.paramwise_cfg.items() if value is not None}
        is_norm, is_bias = isinstance(module, _NORMS), name == "bias"
        group: dict[str, Any] = {}
        if is_dcn and "conv_offset" in prefix and isinstance(module, nn.Conv2d) and "dcn_offset_lr_mult" in mult:
            group["lr"] = self.base_lr * mult["dcn_offset_lr_mult"]
        elif is_bias and not is_norm and not is_dcn and "bias_lr_mult" in mult:
            group["lr"] = self.base_lr * mult["bias_lr_mult"]
        is_depthwise = isinstance(module, nn.Conv2d) and module.in_channels == module.groups
        decay_rules = (
            ("norm_decay_mult", is_norm),
            ("bias_decay_mult", is_bias and not is_dcn),
            ("dwconv_decay_mult", is_depthwise),
            ("flat_decay_mult", flat and not is_dcn),
        )
        for key, applies in decay_rules:
            if applies and key in mult:
                group["weight_decay"] = self.base_wd * mult[key]
                break
        return group

    def _is_in(self, param_group: dict[str, Any], param_group_list: list[dict[str, Any]]) -> bool:
        """Whether a parameter of the group is in one of the list's groups."""
        known = {id(p) for group in param_group_list for p in group["params"]}
        return any(id(p) in known for p in param_group["params"])

    def _params_argument(self) -> str:
        """The name of the optimizer's first argument, which is `params` for most but not for all."""
        kind = self.optimizer_cfg["type"]
        with OPTIMIZERS.switch_scope_and_registry(self.optimizer_cfg.get("_scope_")) as registry:
            optimizer_class = registry.resolve(kind) if isinstance(kind, str) else kind
            if isinstance(kind, LazyObject):
                optimizer_class = kind.build()
        return next(iter(inspect.signature(optimizer_class).parameters), "params")

    def _parameters(self, model: nn.Module) -> Iterable[Any]:
        if not self.paramwise_cfg:
            return model.parameters()
        if only_freezes(self.paramwise_cfg):
            return (param for param in model.parameters() if param.requires_grad)
        params: list[dict[str, Any]] = []
        self.add_params(params, model)
        if self.own_keys is not None:
            _check_duplicates(params, model)
        return params

    def _check_keys(self, model: nn.Module) -> None:
        names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
        for key in self._custom_keys:
            if any(key in matched_name(name) for name in names):
                continue
            parts = {".".join(name.split(".")[i:j]) for name in names for i in range(4) for j in range(i + 1, i + 4)}
            message = (
                f"paramwise_cfg custom_keys has {key!r}, which no parameter name of {type(model).__name__} contains."
                f"{did_you_mean(key, sorted({*names, *parts} - {''}))}"
            )
            if not self.paramwise_cfg.get("allow_unmatched_keys", not defaults.refuses_idle_params):
                raise ConfigError(f"{message} Take it out, or set allow_unmatched_keys=True there to be warned only")
            print_log(message, logger="current", level=logging.WARNING)

    def _validate_cfg(self) -> None:
        """Refuse a paramwise_cfg of the wrong kind, and factors on a value that is not there."""
        if not isinstance(self.paramwise_cfg, dict):
            raise ConfigTypeError(f"paramwise_cfg must be a dict or None, got {self.paramwise_cfg!r}")
        if self.own_keys is not None:
            known = (*_KNOWN, *self.own_keys)
            for key in self.paramwise_cfg:
                if key not in known:
                    raise ConfigError(
                        f"paramwise_cfg has no setting {key!r}: it takes {', '.join(known)}.{did_you_mean(key, known)}"
                    )
        _check_custom_keys(self.paramwise_cfg.get("custom_keys", {}))
        used = {key for key, value in self.paramwise_cfg.items() if value is not None}
        used.update(key for settings in self._custom_keys.values() for key in settings)
        for base, name, mults in (
            (self.base_lr, "lr", ("lr_mult", *_LR_MULTS)),
            (self.base_wd, "weight_decay", ("decay_mult", *_DECAY_MULTS)),
        ):
            wanting = [mult for mult in mults if mult in used]
            if base is None and wanting:
                raise ConfigError(
                    f"paramwise_cfg has {wanting[0]}, a factor on {name}, and the optimizer sets no {name}: write it "
                    f"out, optimizer=dict(type=..., {name}=...)"
                )


def _check_custom_keys(custom_keys: Any) -> None:
    if not isinstance(custom_keys, dict) or not all(isinstance(value, dict) for value in custom_keys.values()):
        raise ConfigTypeError(
            "paramwise_cfg custom_keys must be a dict of dicts, such as {'backbone': dict(lr_mult=0.1)}, got "
            f"{custom_keys!r}"
        )
    for key, settings in custom_keys.items():
        if not isinstance(settings.get("requires_grad", True), bool):
            raise ConfigTypeError(
                f"requires_grad of custom_keys {key!r} must be True or False, got {settings['requires_grad']!r}"
            )


def _check_duplicates(params: list[dict[str, Any]], model: nn.Module) -> None:
    seen: set[int] = set()
    for group in params:
        for param in group["params"]:
            if id(param) in seen:
                names = [n for n, p in model.named_parameters(remove_duplicate=False) if p is param]
                raise ConfigError(
                    f"some parameters appear in more than one parameter group: {' and '.join(names)} are one. Set "
                    "paramwise_cfg bypass_duplicate=True to take it once, by its first name"
                )
            seen.add(id(param))


def build_optim_wrapper(model: nn.Module, cfg: dict[str, Any]) -> BaseOptimWrapper:
    """Build what an ``optim_wrapper`` config describes; ``cfg`` is left as it is.

    Keys: ``optimizer`` (a dict, or an optimizer that is built already), ``type`` ('OptimWrapper' by default) with its
    arguments, ``constructor`` ('DefaultOptimWrapperConstructor' by default) and ``paramwise_cfg``.
    """
    if not isinstance(cfg, dict):
        raise ConfigTypeError(f"optim_wrapper must be a dict, got {cfg!r} of type {type(cfg).__name__}")
    if isinstance(cfg.get("optimizer"), Optimizer):
        if cfg.get("paramwise_cfg") is not None:
            raise ConfigError(
                "paramwise_cfg decides the groups of an optimizer while it is built, and this optimizer is built "
                "already: give it as a dict, or make its groups yourself"
            )
        ready = {key: value for key, value in cfg.items() if key not in ("constructor", "paramwise_cfg")}
        wrapper: BaseOptimWrapper = OPTIM_WRAPPERS.build({"type": "OptimWrapper", **ready})
        return wrapper
    given, cfg = cfg, copy.deepcopy(cfg)
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.build(
        {
            "type": cfg.pop("constructor", "DefaultOptimWrapperConstructor"),
            "paramwise_cfg": cfg.pop("paramwise_cfg", None),
            "optim_wrapper_cfg": cfg,
        }
    )
    with remembering(given):
        built: BaseOptimWrapper = constructor(model)
    return built
