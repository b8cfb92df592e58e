"""Multiply-adds, activations and parameters of a model."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from torch import Tensor, nn

from trainwright.analysis.jit_analysis import JitModelAnalysis
from trainwright.analysis.jit_handles import (
    Handle,
    addmm_flop_jit,
    batchnorm_flop_jit,
    bmm_flop_jit,
    conv_flop_jit,
    einsum_flop_jit,
    elementwise_flop_counter,
    generic_activation_jit,
    linear_flop_jit,
    matmul_flop_jit,
    norm_flop_counter,
)

_DEFAULT_SUPPORTED_FLOP_OPS: dict[str, Handle] = {
    "aten::addmm": addmm_flop_jit,
    "aten::bmm": bmm_flop_jit,
    "aten::_convolution": conv_flop_jit,
    "aten::einsum": einsum_flop_jit,
    "aten::matmul": matmul_flop_jit,
    "aten::mm": matmul_flop_jit,
    "aten::linear": linear_flop_jit,
    "aten::batch_norm": batchnorm_flop_jit,
    "aten::group_norm": norm_flop_counter(2),
    "aten::layer_norm": norm_flop_counter(2),
    "aten::instance_norm": norm_flop_counter(1),
    "aten::upsample_nearest2d": elementwise_flop_counter(0, 1),
    "aten::upsample_bilinear2d": elementwise_flop_counter(0, 4),
    "aten::adaptive_avg_pool2d": elementwise_flop_counter(1, 0),
    "aten::grid_sampler": elementwise_flop_counter(0, 4),  # as if it were bilinear
}

_DEFAULT_SUPPORTED_ACT_OPS: dict[str, Handle] = {
    "aten::_convolution": generic_activation_jit("conv"),
    "aten::addmm": generic_activation_jit(),
    "aten::bmm": generic_activation_jit(),
    "aten::einsum": generic_activation_jit(),
    "aten::matmul": generic_activation_jit(),
    "aten::linear": generic_activation_jit(),
}


class FlopAnalyzer(JitModelAnalysis):
    """The multiply-adds of a forward pass, by module and by operator; see JitModelAnalysis for what can be asked.

    A multiply-add is one flop. Counted are products of matrices, convolutions, norms, some up-sampling and pooling;
    additions, activation functions and softmax are not, and `unsupported_ops` has what was met of them. Further
    operators can be given a handle, those that are counted another one, or None to leave them out.
    """

    def __init__(self, model: nn.Module, inputs: Tensor | tuple[Any, ...]) -> None:
        super().__init__(model, inputs)
        self.set_op_handle(**_DEFAULT_SUPPORTED_FLOP_OPS)


class ActivationAnalyzer(JitModelAnalysis):
    """The elements of the outputs of convolutions and of products of matrices, by module and by operator."""

    def __init__(self, model: nn.Module, inputs: Tensor | tuple[Any, ...]) -> None:
        super().__init__(model, inputs)
        self.set_op_handle(**_DEFAULT_SUPPORTED_ACT_OPS)


def flop_count(
    model: nn.Module, inputs: tuple[Any, ...], supported_ops: dict[str, Handle] | None = None
) -> tuple[defaultdict[str, float], Counter[str]]:
    """10^9 multiply-adds by operator, and how often operators were met that nothing is known of.

    `supported_ops` has handles beside those of FlopAnalyzer, or in their place.
    """
    return _by_operator(FlopAnalyzer(model, inputs), supported_ops, 1e9)


def activation_count(
    model: nn.Module, inputs: tuple[Any, ...], supported_ops: dict[str, Handle] | None = None
) -> tuple[defaultdict[str, float], Counter[str]]:
    """10^6 activations by operator, and how often operators were met that nothing is known of.

    `supported_ops` has handles beside those of ActivationAnalyzer, or in their place.
    """
    return _by_operator(ActivationAnalyzer(model, inputs), supported_ops, 1e6)


def _by_operator(
    analysis: JitModelAnalysis, handles: dict[str, Handle] | None, unit: float
) -> tuple[defaultdict[str, float], Counter[str]]:
    counts = analysis.set_op_handle(**(handles or {})).by_operator()
    return defaultdict(float, {name: count / unit for name, count in counts.items()}), analysis.unsupported_ops()


def parameter_count(model: nn.Module) -> defaultdict[str, int]:
    """The elements of every parameter, and of every module's parameters, by name; those of the whole model by ``""``.

    A parameter that is in several places counts once, where it comes first.
    """
    count: defaultdict[str, int] = defaultdict(int)
    for name, param in model.named_parameters():
        parts = name.split(".")
        for n in range(len(parts) + 1):
            count[".".join(parts[:n])] += param.numel()
    return count


def parameter_count_table(model: nn.Module, max_depth: int = 3) -> str:
    """`parameter_count` as a table, with the shapes of parameters, down to `max_depth` names below the model."""
    from trainwright.analysis.tables import plain_table, rounded_size

    count = parameter_count(model)
    shapes = {name: str(tuple(param.shape)) for name, param in model.named_parameters()}
    rows = [("model", rounded_size(count.pop("", 0)))]

    def add(level: int, prefix: str) -> None:
        indent = " " * (level + 1)
        for name, size in count.items():
            if name.count(".") == level and name.startswith(prefix):
                rows.append((indent + name, indent + shapes.get(name, rounded_size(size))))
                if name not in shapes and level + 1 < max_depth:
                    add(level + 1, f"{name}.")

    if max_depth > 0:
        add(0, "")
    title = f"parameter count of {type(model).__name__}"
    return plain_table(("name", "#elements or shape"), rows, title)
