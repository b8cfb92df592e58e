"""Batches of images, dicts of losses, and questions about models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, fx, nn

from trainwright.base.errors import DataRuleError, RuleError, RuleTypeError
from trainwright.base.logs import print_log
from trainwright.registry import MODEL_WRAPPERS, Registry

_ERROR = 40

MODEL_WRAPPERS.register_module(module=nn.parallel.DistributedDataParallel)
MODEL_WRAPPERS.register_module(module=nn.DataParallel)


def is_model_wrapper(model: nn.Module, registry: Registry = MODEL_WRAPPERS) -> bool:
    """Whether `model` is of a class that the registry, or one of its children, has: the user's model is its
    ``module``."""
    if isinstance(model, tuple(registry.module_dict.values())):
        return True
    return any(is_model_wrapper(model, child) for child in registry.children.values())


def stack_batch(tensor_list: list[Tensor], pad_size_divisor: int = 1, pad_value: int | float = 0) -> Tensor:
    """One tensor (N, C, ...) of N tensors (C, ...): each is padded at its far ends to the largest size of the batch,
    rounded up to a multiple of `pad_size_divisor`. The first dimension is never padded.

    DataRuleError for tensors that cannot be stacked, with their places and shapes.
    """
    if not isinstance(tensor_list, list):
        raise RuleTypeError(
            f"Expected input type to be list, of tensors, in stack_batch; got {type(tensor_list).__name__}."
        )
    if pad_size_divisor < 1:
        raise RuleError(f"pad_size_divisor must be at least 1, which pads nothing more, got {pad_size_divisor}.")
    _check_stackable(tensor_list)
    sizes = [tensor.shape[1:] for tensor in tensor_list]
    target = [math.ceil(max(size) / pad_size_divisor) * pad_size_divisor for size in zip(*sizes, strict=True)]
    if all(list(size) == target for size in sizes):
        return torch.stack(tensor_list)
    first = tensor_list[0]
    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensor_list))
    batch = first.new_full((len(tensor_list), first.shape[0], *target), pad_value, dtype=dtype)
    for n, tensor in enumerate(tensor_list):
        place: Any = (n, *map(slice, tensor.shape))
        batch[place].copy_(tensor)
    return batch


def _check_stackable(tensors: Sequence[Tensor]) -> None:
    if not tensors:
        raise DataRuleError("`tensor_list` could not be an empty list: there is nothing to stack to a batch.")
    for n, tensor in enumerate(tensors):
        if tensor.dim() != tensors[0].dim() or tensor.shape[:1] != tensors[0].shape[:1]:
            raise DataRuleError(
                "in a batch the dimensions of all tensors must be the same in number, and the first one, which is "
                f"never padded, in size: sample 0 has shape {tuple(tensors[0].shape)}, sample {n} has "
                f"{tuple(tensor.shape)}."
            )


def detect_anomalous_params(loss: Tensor, model: nn.Module) -> None:
    """Log an error for each parameter of `model` that requires a gradient and that `loss` does not depend on."""
    reached, waiting, seen = set(), [loss.grad_fn], set()
    while waiting:
        node: Any = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            reached.add(node.variable)
        waiting.extend(parent for parent, _ in node.next_functions)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter not in reached:
            message = f"{name} with shape {parameter.shape} is not in the computational graph of the loss: no gradient"
            print_log(message, "current", _ERROR)


@fx.wrap
def merge_dict(*args: dict[Any, Any]) -> dict[Any, Any]:
    """All dicts in one; of equal keys the last counts. torch.fx takes it as one step."""
    merged: dict[Any, Any] = {}
    for item in args:
        if not isinstance(item, dict):
            raise RuleTypeError(f"each argument of merge_dict should be a dict, got {type(item).__name__}: {item!r}")
        merged.update(item)
    return merged
