"""Counts for single operators of a traced graph.

A handle is given the inputs and outputs of an operator as lists of `torch._C.Value`, and returns a number, which is
then counted under the name of the operator, or a Counter that has names of its own. One multiply-add is one flop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import floor, prod
from typing import Any

from torch.utils.flop_counter import conv_flop_count as _torch_conv_flops
from torch.utils.flop_counter import sdpa_flop_count as _torch_attention_flops

Handle = Callable[[list[Any], list[Any]], "Counter[str] | float"]

# By what an operator of that many arguments is: `aten::_convolution` before and after it was told of tf32.
_CONVOLUTION_ARGUMENTS = (12, 13)
# Contractions that are counted exactly; the letters are in order of appearance.
_BATCHED_PRODUCTS = ("abc,abd->acd", "abc,adc->adb")


def get_shape(val: Any) -> list[int] | None:
    """The shape of a value of the graph; None if it is no tensor whose shape is known."""
    return val.type().sizes() if val.isCompleteTensor() else None


def _shape(val: Any) -> list[int]:
    shape = get_shape(val)
    if shape is None:
        raise ValueError(
            f"the shape of {val.debugName()!r} is not known in the traced graph: it is of type {val.type()}"
        )
    return shape


def generic_activation_jit(op_name: str | None = None) -> Handle:
    """A handle that counts the elements of the first output, under `op_name` if that is given."""

    def activations(inputs: list[Any], outputs: list[Any]) -> Counter[str] | float:
        count = prod(_shape(outputs[0]))
        return count if op_name is None else Counter({op_name: count})

    return activations


def addmm_flop_jit(inputs: list[Any], outputs: list[Any]) -> int:
    """``aten::addmm``: inputs are what is added, (n, k) and (k, m)."""
    (rows, inner), (_, columns) = _matrix(inputs[1]), _matrix(inputs[2])
    return rows * inner * columns


def linear_flop_jit(inputs: list[Any], outputs: list[Any]) -> int:
    """``aten::linear``: inputs are (..., k), weight (m, k) and bias."""
    of_input, of_weight = _shape(inputs[0]), _shape(inputs[1])
    _assert_fit(of_input[-1], of_weight[-1], of_input, of_weight)
    return prod(of_input) * of_weight[0]


def bmm_flop_jit(inputs: list[Any], outputs: list[Any]) -> int:
    """``aten::bmm``: (b, n, k) and (b, k, m)."""
    left, right = map(_shape, inputs)
    return prod(left) * right[-1]


def matmul_flop_jit(inputs: list[Any], outputs: list[Any]) -> int:
    """``aten::matmul`` and ``aten::mm``. A vector is a row on the left and a column on the right.

    Dimensions of the second operand that are broadcast over the first are not counted, as in MMEngine.
    """
    left, right = map(_shape, inputs[:2])
    left = [1, *left] if len(left) == 1 else left
    right = [*right, 1] if len(right) == 1 else right
    _assert_fit(left[-1], right[-2], left, right)
    return prod(left) * right[-1]


def conv_flop_count(
    x_shape: Sequence[int], w_shape: Sequence[int], out_shape: Sequence[int], transposed: bool = False
) -> int:
    """Multiply-adds of a convolution of any dimension, the bias left out.

    Shapes are (N, C_in, ...), (C_out, C_in / groups, ...) and (N, C_out, ...). Torch counts the two halves of a
    multiply-add apart.
    """
    flops: int = _torch_conv_flops(list(x_shape), list(w_shape), list(out_shape), transposed)
    return flops // 2


def conv_flop_jit(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """``aten::_convolution``, counted as "conv". The seventh input says whether it is transposed."""
    assert len(inputs) in _CONVOLUTION_ARGUMENTS, f"aten::_convolution has {len(inputs)} arguments in this PyTorch"
    x, w, out = map(_shape, (inputs[0], inputs[1], outputs[0]))
    return Counter({"conv": conv_flop_count(x, w, out, transposed=inputs[6].toIValue())})


def attention_flop_jit(inputs: list[Any], outputs: list[Any]) -> int:
    """``aten::scaled_dot_product_attention``: queries (B, H, L, E), keys (B, H, S, E), values (B, H, S, V).

    MMEngine has nothing for this operator, so it is on no default list: set it as a handle.
    """
    queries, keys, values = map(_shape, inputs[:3])
    flops: int = _torch_attention_flops(queries, keys, values)
    return flops // 2


def einsum_flop_jit(inputs: list[Any], outputs: list[Any]) -> int | float:
    """``aten::einsum``: the equation, and the list of operands.

    Products of batches of matrices are counted exactly; the rest is what NumPy's best order of contraction costs, to
    the four digits in which NumPy says it.
    """
    equation = inputs[0].toIValue().replace(" ", "")
    shapes = [_shape(value) for value in inputs[1].node().inputs()]
    letters = dict.fromkeys(letter for letter in equation if letter.isalpha())
    normal = equation.translate({ord(letter): ord("a") + n for n, letter in enumerate(letters)})
    if normal in _BATCHED_PRODUCTS:
        last = shapes[-1][-1] if normal == _BATCHED_PRODUCTS[0] else shapes[-1][1]
        return prod(shapes[0]) * last
    return _best_contraction_flops(normal, shapes)


def _best_contraction_flops(equation: str, shapes: list[list[int]]) -> float:
    import numpy as np

    nothing = np.zeros(())
    operands = [np.broadcast_to(nothing, shape) for shape in shapes]  # only their shapes count
    for line in str(np.einsum_path(equation, *operands, optimize="optimal")[1]).splitlines():
        if "optimized flop" in line.lower():
            return float(floor(float(line.rpartition(":")[2]) / 2))  # NumPy counts additions too
    raise NotImplementedError(f"NumPy does not say what einsum {equation!r} costs; set a handle for aten::einsum")


def norm_flop_counter(affine_arg_index: int) -> Handle:
    """A handle for a norm over its first input: 5 an element with a weight, which is that input, and 4 without."""

    def norm_flops(inputs: list[Any], outputs: list[Any]) -> int:
        shape = _shape(inputs[0])
        assert 2 <= len(shape) <= 5, f"a norm over a tensor of shape {tuple(shape)}"
        return prod(shape) * (5 if _is_tensor(inputs[affine_arg_index]) else 4)

    return norm_flops


def batchnorm_flop_jit(inputs: list[Any], outputs: list[Any]) -> Any:
    """``aten::batch_norm``: as another norm in training; else 2 an element with a weight, and 1 without.

    In inference it is mostly fused with a convolution: set the handle None to leave it out.
    """
    training = inputs[5].toIValue()
    assert isinstance(training, bool), "the arguments of aten::batch_norm are others in this PyTorch"
    if training:
        return norm_flop_counter(1)(inputs, outputs)
    return prod(_shape(inputs[0])) * (2 if _is_tensor(inputs[1]) else 1)


def elementwise_flop_counter(input_scale: float = 1, output_scale: float = 0) -> Handle:
    """A handle that counts so much an element of the first input, and so much an element of the first output."""

    def elementwise_flops(inputs: list[Any], outputs: list[Any]) -> float:
        sides = ((input_scale, inputs), (output_scale, outputs))
        return sum(scale * prod(_shape(values[0])) for scale, values in sides if scale)

    return elementwise_flops


def _is_tensor(val: Any) -> bool:
    return get_shape(val) is not None


def _matrix(val: Any) -> list[int]:
    shape = _shape(val)
    assert len(shape) == 2, f"aten::addmm multiplies matrices, got the shape {tuple(shape)}"
    return shape


def _assert_fit(left: int, right: int, *shapes: Sequence[int]) -> None:
    assert left == right, f"the shapes {' and '.join(str(tuple(shape)) for shape in shapes)} cannot be multiplied"
