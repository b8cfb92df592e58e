"""Changes to the forward of parts of a model: less memory for more time, and convolutions that take their norm in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.checkpoint import checkpoint

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.logs import print_log
from trainwright.base.text import did_you_mean

_CONVS = (nn.Conv1d.forward, nn.Conv2d.forward, nn.Conv3d.forward)  # not what a subclass does in another way
# Attributes put into a module's own dict, so that torch takes none of them for a part of the model. They and the bound
# methods are followed by copy.deepcopy: a copy of a model runs the copy's weights.
_INNER, _NORM, _FOLDED, _PAIRS = "_forward_inside", "_norm_behind", "_folded_output", "_pairs_seen"


def parts_of(model: nn.Module, modules: str | Sequence[str], setting: str) -> list[nn.Module]:
    """The modules with these dotted names; ConfigError that names near ones for a name that is none."""
    names = [modules] if isinstance(modules, str) else modules
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ConfigTypeError(
            f"{setting} must be the name of a module in the model, or a list of them, got {modules!r}."
        )
    known = dict(model.named_modules())
    for name in names:
        if name not in known:
            raise ConfigError(
                f"{setting} names {name!r}, which is no module in {type(model).__name__}."
                f"{did_you_mean(name, [other for other in known if other])}"
            )
    return [known[name] for name in names]


# -- activation checkpointing ------------------------------------------------------------------------------------------
def turn_on_activation_checkpointing(model: nn.Module, modules: str | Sequence[str]) -> None:
    """Keep no activations inside the named modules of `model`: the backward pass computes them again.

    Without gradients, in validation, they run as they are.
    """
    for part in parts_of(model, modules, "activation_checkpointing"):
        if _INNER not in vars(part):
            vars(part)[_INNER] = part.forward
            part.forward = MethodType(_checkpointed, part)


def wrap_forward(forward: Callable[..., Any]) -> Callable[..., Any]:
    """`forward` that keeps no activations inside."""

    @wraps(forward)
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return checkpointed


def _checkpointed(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    inside = vars(self)[_INNER]
    if not torch.is_grad_enabled():
        return inside(*args, **kwargs)
    return checkpoint(inside, *args, use_reentrant=False, **kwargs)


# -- convolutions that take their norm in ------------------------------------------------------------------------------
def efficient_conv_bn_eval_forward(bn: _BatchNorm, conv: Any, x: Tensor) -> Tensor:
    """``bn(conv(x))`` of a batch norm in eval mode with one convolution, whose weights take the norm in on the fly
    (You et al. 2023): less memory and time, and gradients still reach both."""
    if bn.running_mean is None or bn.running_var is None:
        raise ConfigError("a batch norm without running statistics cannot be taken into a convolution.")
    scale = torch.rsqrt(bn.running_var + bn.eps)
    if bn.weight is not None:
        scale = bn.weight * scale
    shift = -bn.running_mean if conv.bias is None else conv.bias - bn.running_mean
    bias = scale * shift if bn.bias is None else bn.bias + scale * shift
    weight = conv.weight * scale.reshape(-1, *[1] * (conv.weight.dim() - 1))
    return conv._conv_forward(x, weight, bias)  # type: ignore[no-any-return]


def efficient_conv_bn_eval_control(bn: _BatchNorm, conv: Any, x: Tensor) -> Tensor:
    """``bn(conv(x))``, in eval mode with one convolution."""
    return bn(conv(x)) if bn.training else efficient_conv_bn_eval_forward(bn, conv, x)


def turn_on_efficient_conv_bn_eval(model: nn.Module, modules: str | Sequence[str]) -> None:
    """Let convolutions in the named modules of `model` take the batch norm in that follows them, while that is in eval
    mode.

    Which norm follows which convolution is seen in the first forward with norms in eval mode, which runs as ever: a
    norm must get the very output of a convolution, and nothing else may. No graph is traced, so any model will do.
    """
    for part in parts_of(model, modules, "efficient_conv_bn_eval"):
        turn_on_efficient_conv_bn_eval_for_single_model(part)


def turn_on_efficient_conv_bn_eval_for_single_model(model: nn.Module) -> None:
    """The same for all of one module."""
    if _PAIRS not in vars(model):
        vars(model)[_PAIRS] = False
        vars(model)[f"{_PAIRS}_inner"] = model.forward
        model.forward = MethodType(_watched, model)


def efficient_conv_bn_eval_graph_transform(fx_model: nn.Module) -> None:
    """The same under the name that MMEngine has for it, whose graph it changes; here no graph is needed."""
    turn_on_efficient_conv_bn_eval_for_single_model(fx_model)


def _watched(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    inside = vars(self)[f"{_PAIRS}_inner"]
    norms = [part for part in self.modules() if isinstance(part, _BatchNorm)] if not vars(self)[_PAIRS] else []
    if not norms or any(norm.training for norm in norms):
        return inside(*args, **kwargs)
    with _Uses(self) as uses:
        outputs = inside(*args, **kwargs)
    pairs = uses.pairs(outputs)
    vars(self)[_PAIRS] = True
    for conv, norm in pairs:
        vars(conv)[_NORM] = norm
        conv.forward = MethodType(_folding_forward, conv)
        norm.forward = MethodType(_folded_forward, norm)
    name = type(self).__name__
    print_log(f"{len(pairs)} convolutions of {name} take their batch norm in while that is in eval mode", "current")
    return outputs


def _folding_forward(self: Any, x: Tensor) -> Any:
    norm = vars(self)[_NORM]
    if norm.training:
        return type(self).forward(self, x)
    folded = efficient_conv_bn_eval_forward(norm, self, x)
    vars(norm)[_FOLDED] = folded
    return folded


def _folded_forward(self: _BatchNorm, x: Tensor) -> Any:
    folded = vars(self).pop(_FOLDED, None)
    if folded is None:
        return type(self).forward(self, x)
    if folded is not x:
        raise ConfigError(
            "efficient_conv_bn_eval: a batch norm did not get the output of the convolution that it followed in the "
            "first forward. The model's data flow changes from call to call: leave this module out of the setting."
        )
    return x


class _Uses(TorchDispatchMode):
    """Watches one forward: what each convolution gave, which norm got it, and how many operators read it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._given: dict[int, tuple[nn.Module, Tensor]] = {}  # holds the tensors, so that no id comes twice
        self._reads: dict[int, int] = {}
        self._taken: list[tuple[nn.Module, nn.Module, int]] = []
        self._calls: dict[nn.Module, int] = {}
        self._handles: list[Any] = []
        for part in model.modules():
            is_free = not (part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part))
            if is_free and type(part).forward in _CONVS:
                self._handles.append(part.register_forward_hook(self._conv_gave))
            elif is_free and isinstance(part, _BatchNorm) and part.running_mean is not None:
                self._handles.append(part.register_forward_pre_hook(self._norm_gets))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in tree_iter((args, kwargs)):
            if isinstance(value, Tensor) and id(value) in self._given:
                self._reads[id(value)] = self._reads.get(id(value), 0) + 1
        return func(*args, **(kwargs or {}))

    def __exit__(self, *error: Any) -> None:
        for handle in self._handles:
            handle.remove()
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def _conv_gave(self, conv: nn.Module, args: Any, output: Tensor) -> None:
        self._given[id(output)] = (conv, output)
        self._calls[conv] = self._calls.get(conv, 0) + 1

    def _norm_gets(self, norm: nn.Module, args: Any) -> None:
        self._calls[norm] = self._calls.get(norm, 0) + 1
        if args and id(args[0]) in self._given:
            self._taken.append((self._given[id(args[0])][0], norm, id(args[0])))

    def pairs(self, outputs: Any) -> list[tuple[nn.Module, nn.Module]]:
        """Convolutions and norms that were called once, one after the other, with nothing else in between or beside."""
        returned = {id(value) for value in tree_iter(outputs) if isinstance(value, Tensor)}
        return [
            (conv, norm)
            for conv, norm, tensor in self._taken
            if self._calls[conv] == self._calls[norm] == 1 and self._reads.get(tensor) == 1 and tensor not in returned
        ]
