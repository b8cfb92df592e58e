"""Norms of the gradients of an update, for whichever hooks want them, computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors

from trainwright.dist import is_sharded, norm_of_each
from trainwright.optim import BaseOptimWrapper

Tensors = tuple[Tensor, ...] | list[Tensor]
_NO_TENSOR = type(None)
_HAS_GRAPH = attrgetter("requires_grad")
_IS_SPARSE = attrgetter("is_sparse")
_FEW = 16384
_NARROW = (torch.float16, torch.bfloat16)
_PLACE = "_gradient_norms"  # of the wrapper, so that they live no longer than it does


def wrappers_by_name(wrapper: Any) -> dict[str, Any]:
    """The wrappers of an OptimWrapperDict under their names, and a single one under ''."""
    return dict(wrapper.items()) if hasattr(wrapper, "items") else {"": wrapper}


def clipping_logs_norm(wrapper: Any) -> bool:
    """Whether ``wrapper`` clips by norm, and so logs the total as ``train/grad_norm`` by itself."""
    return bool(getattr(wrapper, "clip_grad_kwargs", None)) and getattr(wrapper, "grad_name", "") == "grad_norm"


def watch_norms(
    wrapper: Any, callback: Callable[[], None], with_each: bool = False
) -> tuple[GradientNorms, Callable[[], None]]:
    """Have ``callback()`` called right before each update by ``wrapper``, when the norms are those of this update.

    Returns the norms, shared by all who watch this wrapper, and what ends the calls. ``with_each``: of_each() will be
    asked for too, so that the total comes from it.
    """
    norms = vars(wrapper).get(_PLACE)
    if norms is None:
        norms = GradientNorms(wrapper)
        setattr(wrapper, _PLACE, norms)
    norms._is_small = norms._is_small and not with_each
    return norms, norms.call_before_update(callback)


class NormOfEach(NamedTuple):
    """Norms of single tensors, all on one device. ``places``: which of the parameters they belong to."""

    places: Sequence[int]
    norms: Tensors


class GradientNorms:
    """Norms of the gradients of one optimizer's running update, without the loss scale, before clipping.

    They are computed when first asked for, and kept until the next update. All stay on the device; sums are taken in at
    least single precision. ``params`` are the optimizer's parameters, in its order.
    """

    def __init__(self, wrapper: Any) -> None:
        self.params: list[nn.Parameter] = [p for g in wrapper.optimizer.param_groups for p in g["params"]]
        self._wrapper = wrapper
        self._has_scale = getattr(type(wrapper), "loss_scale_tensor", None) is not BaseOptimWrapper.loss_scale_tensor
        self._all_places = range(len(self.params))
        self._one_device = len({p.device for p in self.params}) == 1
        self._dtype = torch.float32 if any(p.dtype in _NARROW for p in self.params) else None
        # A few thousand numbers on a CPU: to copy them together is faster than a norm of each tensor.
        n_numbers = sum(p.numel() for p in self.params) if len({p.dtype for p in self.params}) == 1 else _FEW
        lie_here = all(p.is_cpu and not is_sharded(p) for p in self.params)
        self._is_small = n_numbers < _FEW and self._dtype is None and lie_here
        self._callbacks: dict[object, Callable[[], None]] = {}
        self._end_calls: Callable[[], None] | None = None
        self._totals: dict[float, Tensor | None] = {}
        self._each: dict[float, NormOfEach] = {}

    def call_before_update(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Use :func:`watch_norms`."""
        key = object()
        self._callbacks = {**self._callbacks, key: callback}
        if self._end_calls is None:
            self._end_calls = self._wrapper.before_step(self._on_update)

        def end() -> None:
            self._callbacks = {k: other for k, other in self._callbacks.items() if k is not key}
            if not self._callbacks and self._end_calls is not None:
                self._end_calls()
                self._end_calls = None
                vars(self._wrapper).pop(_PLACE, None)
                self._forget()

        return end

    def _on_update(self) -> None:
        self._forget()
        for callback in self._callbacks.values():
            callback()

    def _forget(self) -> None:
        self._totals.clear()
        self._each.clear()

    def total(self, order: float = 2.0) -> Tensor | None:
        """The norm over all gradients, as a scalar tensor of the device; None when there is no gradient."""
        if order not in self._totals:
            self._totals[order] = self._total(order)
        return self._totals[order]

    def _total(self, order: float) -> Tensor | None:
        if self._is_small and (not self._has_scale or self._wrapper.loss_scale_tensor() is None):
            grads: list[Any] = [p.grad for p in self.params]
            if _NO_TENSOR not in map(type, grads) and not any(map(_IS_SPARSE, grads)):
                total: Tensor = torch.linalg.vector_norm(_flatten_dense_tensors(grads), order)
                return total.detach() if total.requires_grad else total
        norms = self.of_each(order).norms
        return joined(norms, order) if norms else None

    def of_each(self, order: float = 2.0) -> NormOfEach:
        """The norm of each gradient there is."""
        if order not in self._each:
            grads: list[Any] = [p.grad for p in self.params]
            places: Sequence[int] = self._all_places
            if _NO_TENSOR in map(type, grads):
                places = [place for place in places if grads[place] is not None]
                grads = [grads[place] for place in places]
            norms = self._norms(grads, order)
            scale = self._wrapper.loss_scale_tensor() if self._has_scale else None
            if scale is not None and norms:
                norms = torch._foreach_div(norms, scale.to(norms[0].device))
            self._each[order] = NormOfEach(places, norms)
        return self._each[order]

    def of_weights(self, order: float = 2.0) -> NormOfEach:
        """The norm of each parameter, as it is before the update; not kept."""
        return NormOfEach(self._all_places, self._norms([p.detach() for p in self.params], order))

    def _norms(self, tensors: list[Tensor], order: float) -> Tensors:
        if not tensors:
            return ()
        if any(map(_IS_SPARSE, tensors)):  # of an embedding
            tensors = [t.coalesce().values() if t.layout is torch.sparse_coo else t for t in tensors]
        found: Tensors
        if any(map(is_sharded, tensors)):  # each rank has a part
            found = norm_of_each(tensors, order, self._dtype)
        else:
            found = torch._foreach_norm(tensors, order, dtype=self._dtype)
        if any(map(_HAS_GRAPH, found)):  # the gradients do, when backward() was asked to make one
            found = [norm.detach() for norm in found]
        return found if self._one_device else [norm.to(found[0].device) for norm in found]


def joined(norms: Tensors, order: float) -> Tensor:
    """The norm of all tensors of which ``norms`` are those of each."""
    total: Tensor = torch.linalg.vector_norm(torch.stack(norms), order)
    return total
