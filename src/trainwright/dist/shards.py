"""Tensors of which every rank holds a part (DTensors): made whole, and cut again. Plain tensors pass through."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import distributed as torch_dist

from trainwright.dist.process import is_main_process

_keeps_shards: ContextVar[bool] = ContextVar("keeps_shards", default=False)
_tell: ContextVar[Callable[[torch.Tensor], None] | None] = ContextVar("tell_of_gathered", default=None)


@contextmanager
def keeping_shards() -> Iterator[None]:
    """Within it :func:`gathered` gathers nothing: for states that each rank keeps, or writes, its own part of."""
    before = _keeps_shards.set(True)
    try:
        yield
    finally:
        _keeps_shards.reset(before)


def keeps_shards() -> bool:
    """Whether this is within :func:`keeping_shards`."""
    return _keeps_shards.get()


@contextmanager
def telling_of_gathered(tell: Callable[[torch.Tensor], None]) -> Iterator[None]:
    """Within it ``tell(tensor)`` is called with each whole tensor that :func:`gathered` makes: its memory is nobody
    else's, so that it need not be copied."""
    before = _tell.set(tell)
    try:
        yield
    finally:
        _tell.reset(before)


def is_sharded(tensor: Any) -> bool:
    """Whether `tensor` is one that knows how it is spread over ranks."""
    module = sys.modules.get("torch.distributed.tensor")  # not imported: then there is none
    return module is not None and isinstance(tensor, module.DTensor)


def local(tensor: Any) -> Any:
    """This rank's part, sharing memory; call it where no gradient is recorded."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def whole(tensor: Any) -> Any:
    """The whole of a tensor on every rank, where it lies. All ranks call this."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def norm_of_each(
    tensors: Sequence[torch.Tensor], order: float = 2.0, dtype: torch.dtype | None = None
) -> list[torch.Tensor]:
    """The norm of the whole of each tensor, as plain tensors on every rank; nothing is read. All ranks call this.

    One message for each way in which some are sharded, whatever their number: tensors of a tensor group and leftovers
    that are whole there may be among them, and plain ones too. Empty parts count as zeros.
    """
    found: list[Any] = [None] * len(tensors)
    kinds: dict[Any, list[int]] = {}
    parts = []
    for place, tensor in enumerate(tensors):
        key: Any = None
        if is_sharded(tensor):
            settled: Any = _summed(tensor)
            key = (settled.device_mesh, tuple(n for n, at in enumerate(settled.placements) if not at.is_replicate()))
            tensor = settled.to_local()
        parts.append(tensor if tensor.numel() else tensor.new_zeros(1))
        kinds.setdefault((key, tensor.device), []).append(place)
    for (key, _), places in kinds.items():
        own: Any = torch._foreach_norm([parts[place] for place in places], order, dtype=dtype)
        if key is not None and key[1]:
            own = _joined_norms(torch.stack(own), order, *key)
        for place, norm in zip(places, own, strict=True):
            found[place] = norm
    return found


def _joined_norms(own: torch.Tensor, order: float, mesh: Any, dims: tuple[int, ...]) -> torch.Tensor:
    """Norms of wholes from those of this rank's parts, over the dimensions of the mesh along which there are parts."""
    extreme = abs(order) == float("inf")
    power = 1.0 if extreme or order == 0 else order
    op = (torch_dist.ReduceOp.MAX if order > 0 else torch_dist.ReduceOp.MIN) if extreme else torch_dist.ReduceOp.SUM
    wide = own.float() if own.device.type == "mps" else own.double()  # squares of large norms are larger still
    wide = wide.pow(power)
    for dim in dims:
        torch_dist.all_reduce(wide, op, mesh.get_group(dim))
    return wide.pow(1 / power).to(own.dtype)


def _summed(tensor: Any) -> Any:
    """A sharded tensor of which no rank holds but a summand."""
    if not any(at.is_partial() for at in tensor.placements):
        return tensor
    from torch.distributed.tensor import Replicate

    return tensor.redistribute(placements=[Replicate() if at.is_partial() else at for at in tensor.placements])


def gathered(tensor: torch.Tensor) -> torch.Tensor:
    """The whole of a tensor in the memory of rank 0's CPU. All ranks call this.

    Of a sharded one the other ranks get a tensor on the meta device: its shape and type, without memory. The result
    shares no memory with a sharded tensor; a plain one that lies on the CPU is not copied. Within
    :func:`keeping_shards` a sharded tensor stays what it is.
    """
    if not is_sharded(tensor):
        return tensor.detach().cpu()
    if _keeps_shards.get():
        return tensor.detach()
    full: torch.Tensor = whole(tensor.detach())
    if not is_main_process():
        return full.to("meta")
    full = full.to("cpu", copy=True)
    if (tell := _tell.get()) is not None:
        tell(full)
    return full


def gathered_tree(value: Any) -> Any:
    """:func:`gathered` for each sharded tensor inside dicts, lists and tuples; everything else stays the same."""
    if isinstance(value, Mapping):
        return {key: gathered_tree(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(gathered_tree(item) for item in value)
    return gathered(value) if is_sharded(value) else value


def own_part(whole: torch.Tensor, like: Any, read: Callable[..., torch.Tensor] | None = None) -> Any:
    """This rank's part of `whole`, in memory of its own, spread as the sharded `like` is. With ``read(offset, shape)``
    it is that which gives the part, and `whole` need only have a shape."""
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    mesh, placements = like.device_mesh, like.placements
    shape, offset = compute_local_shape_and_global_offset(whole.shape, mesh, placements)
    if read is None:
        box = whole[tuple(slice(at, at + n) for at, n in zip(offset, shape, strict=True))]
        own = box.to(_device_of(like), copy=True, memory_format=torch.contiguous_format)
    else:
        own = read(tuple(offset), tuple(shape)).to(_device_of(like))
    return DTensor.from_local(own, mesh, placements, run_check=False, shape=whole.shape, stride=like.stride())


def _device_of(like: Any) -> torch.device:
    """Where its parts lie, which with offloading is not where its mesh is; the mesh's where they have no memory yet."""
    own: torch.device = like.to_local().device
    return torch.device(like.device_mesh.device_type) if own.type == "meta" else own


def laid_out_as(value: Any, like: Any) -> Any:
    """`value`, of which this rank has the whole or can read its part, spread as `like` is; nothing is sent."""
    if hasattr(value, "laid_out_as"):  # of a checkpoint, and not read yet
        return value.laid_out_as(like)
    if not is_sharded(like) or not isinstance(value, torch.Tensor) or is_sharded(value):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.detach(), like.device_mesh, like.placements, src_data_rank=None)
