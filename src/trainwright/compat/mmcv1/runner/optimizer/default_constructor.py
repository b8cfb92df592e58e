"""Parameter groups by MMCV 1.x's rules."""

from __future__ import annotations

import warnings
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.compat.mmcv1.runner.optimizer.builder import OPTIMIZER_BUILDERS, OPTIMIZERS
from trainwright.compat.mmcv1.utils.registry import build_from_cfg
from trainwright.utils.misc import is_list_of

_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm)
_DEFORMABLE = {"DeformConv2d", "ModulatedDeformConv2d"}  # by name: the package that has them stays optional
_DECAY_MULTS = ("bias_decay_mult", "norm_decay_mult", "dwconv_decay_mult")


@OPTIMIZER_BUILDERS.register_module()
class DefaultOptimizerConstructor:
    """Builds one optimizer. Without `paramwise_cfg` it has one group; with it each parameter has a group of its own.

    `custom_keys`: `{part of a name: dict(lr_mult=, decay_mult=)}`, of which the longest that a name contains decides,
    then the alphabet, and nothing else counts for that parameter. `bias_lr_mult`, `bias_decay_mult`,
    `norm_decay_mult`, `dwconv_decay_mult`, `dcn_offset_lr_mult`: factors for what they name. `bypass_duplicate`: a
    parameter that two modules share is taken once. What needs no gradient has a group without settings.
    """

    def __init__(self, optimizer_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None) -> None:
        if not isinstance(optimizer_cfg, dict):
            raise ConfigTypeError(
                f"optimizer_cfg must be a dict, got {optimizer_cfg!r} of type {type(optimizer_cfg).__name__}"
            )
        self.optimizer_cfg = optimizer_cfg
        self.paramwise_cfg = {} if paramwise_cfg is None else paramwise_cfg
        self.base_lr = optimizer_cfg.get("lr")
        self.base_wd = optimizer_cfg.get("weight_decay")
        self._validate_cfg()

    def _validate_cfg(self) -> None:
        if not isinstance(self.paramwise_cfg, dict):
            raise ConfigTypeError(
                f"paramwise_cfg must be a dict or None, got {self.paramwise_cfg!r} of type "
                f"{type(self.paramwise_cfg).__name__}"
            )
        custom_keys = self.paramwise_cfg.get("custom_keys", {})
        if not isinstance(custom_keys, dict):
            raise ConfigTypeError(
                f"paramwise_cfg custom_keys must be a dict of dicts, such as {{'backbone': dict(lr_mult=0.1)}}, got "
                f"{custom_keys!r}"
            )
        wanting = [mult for mult in _DECAY_MULTS if mult in self.paramwise_cfg]
        wanting += [f"decay_mult of {key!r}" for key, settings in custom_keys.items() if "decay_mult" in settings]
        if wanting and self.base_wd is None:
            raise ConfigError(
                f"paramwise_cfg has {wanting[0]}, a factor on weight_decay, and base_wd should not be None: write "
                "weight_decay into the optimizer"
            )

    def _is_in(self, param_group: dict[str, Any], param_group_list: list[dict[str, Any]]) -> bool:
        assert is_list_of(param_group_list, dict)
        known = {id(param) for group in param_group_list for param in group["params"]}
        return any(id(param) in known for param in param_group["params"])

    def add_params(
        self, params: list[dict[str, Any]], module: nn.Module, prefix: str = "", is_dcn_module: Any = None
    ) -> None:
        """Append a group for each parameter of `module`, called `prefix`, and its children."""
        bypass = self.paramwise_cfg.get("bypass_duplicate", False)
        for name, param in module.named_parameters(recurse=False):
            group: dict[str, Any] = {"params": [param]}
            if not param.requires_grad:
                params.append(group)
                continue
            if bypass and self._is_in(group, params):
                # The whole sentence is compared by users' tests.
                warnings.warn(
                    f"{prefix} is duplicate. It is skipped since bypass_duplicate={bypass}", UserWarning, stacklevel=2
                )
                continue
            custom = self._custom(f"{prefix}.{name}")
            group.update(self._by_rules(module, name, prefix, bool(is_dcn_module)) if custom is None else custom)
            params.append(group)
        is_dcn = any(cls.__name__ in _DEFORMABLE for cls in type(module).__mro__)
        for name, child in module.named_children():
            self.add_params(params, child, f"{prefix}.{name}" if prefix else name, is_dcn)

    def _custom(self, full_name: str) -> dict[str, Any] | None:
        custom_keys = self.paramwise_cfg.get("custom_keys", {})
        matching = [key for key in custom_keys if key in full_name]
        if not matching:
            return None
        settings = custom_keys[min(matching, key=lambda key: (-len(key), key))]
        group = {"lr": self._lr(settings.get("lr_mult", 1.0))}
        if self.base_wd is not None:
            group["weight_decay"] = self.base_wd * settings.get("decay_mult", 1.0)
        return {key: value for key, value in group.items() if value is not None}

    def _by_rules(self, module: nn.Module, name: str, prefix: str, is_dcn: bool) -> dict[str, Any]:
        mult = self.paramwise_cfg.get
        is_norm, is_bias = isinstance(module, _NORMS), name == "bias"
        group: dict[str, Any] = {}
        if is_bias and not (is_norm or is_dcn):
            group["lr"] = self._lr(mult("bias_lr_mult", 1.0))
        if is_dcn and "conv_offset" in prefix and isinstance(module, nn.Conv2d):
            group["lr"] = self._lr(mult("dcn_offset_lr_mult", 1.0))
        if self.base_wd is not None:
            if is_norm:
                group["weight_decay"] = self.base_wd * mult("norm_decay_mult", 1.0)
            elif isinstance(module, nn.Conv2d) and module.in_channels == module.groups:
                group["weight_decay"] = self.base_wd * mult("dwconv_decay_mult", 1.0)
            elif is_bias and not is_dcn:
                group["weight_decay"] = self.base_wd * mult("bias_decay_mult", 1.0)
        return {key: value for key, value in group.items() if value is not None}

    def _lr(self, mult: float) -> float | None:
        if self.base_lr is None and mult != 1.0:
            raise ConfigError("paramwise_cfg has a factor on lr, and the optimizer sets no lr: write lr=... into it")
        return None if self.base_lr is None else float(self.base_lr * mult)

    def __call__(self, model: nn.Module) -> Any:
        """The optimizer over `model`, or over what it wraps as `module`."""
        inner: Any = getattr(model, "module", model)
        settings = self.optimizer_cfg.copy()
        if self.paramwise_cfg:
            params: list[dict[str, Any]] = []
            self.add_params(params, inner)
            settings["params"] = params
        else:
            settings["params"] = inner.parameters()
        return build_from_cfg(settings, OPTIMIZERS)
