"""What a step that is run on fake tensors would have cost: memory that lives, and messages between the ranks."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed as torch_dist
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainwright import dist

_distributed: Any = torch_dist  # what follows is not part of its public names
_c10d: Any = torch_dist.distributed_c10d
# Part of an operator's name: what it is called here. `_` in place, as c10d's, and functional ones alike.
_KINDS = {
    "reduce_scatter": "reduce-scatter", "allgather": "all-gather", "all_gather": "all-gather",
    "allreduce": "all-reduce", "all_reduce": "all-reduce", "alltoall": "all-to-all", "all_to_all": "all-to-all",
    "broadcast": "broadcast",
}  # fmt: skip


@dataclass
class Traffic:
    """Messages of one kind in one size of group. `n_bytes`: of the whole tensors; `n_sent_bytes`: what a rank sends
    when they go round a ring, as NCCL and gloo send large ones."""

    kind: str
    group_size: int
    n_calls: int = 0
    n_bytes: int = 0
    n_sent_bytes: int = 0

    def add(self, n_bytes: int, n_calls: int = 1) -> None:
        """So many calls, with so many bytes together."""
        self.n_calls += n_calls
        self.n_bytes += n_bytes
        rounds = 2 if self.kind == "all-reduce" else 1
        self.n_sent_bytes += rounds * n_bytes * (self.group_size - 1) // self.group_size


class StepRecorder(TorchDispatchMode):
    """While it is entered: bytes of all tensors that live, and every collective.

    ``forward_end`` is called once, at the first operator of a backward, with the storages that live then.
    """

    def __init__(self, forward_end: Callable[[StepRecorder], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.traffic: dict[tuple[str, int], Traffic] = {}
        self.peak_bytes = 0
        self._forward_end: Callable[[StepRecorder], None] | None = forward_end
        self._live: dict[int, weakref.ref[Any]] = {}
        self._bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self._forward_end is not None and torch._C._current_graph_task_id() != -1:
            self._forward_end(self)
            self._forward_end = None
        out = func(*args, **(kwargs or {}))
        name = str(func)
        if "c10d" in name:
            self._note(name, args, out)
            self._measure()
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.watch(leaf)
        self.peak_bytes = max(self.peak_bytes, self._bytes)
        return out

    def watch(self, tensor: torch.Tensor) -> None:
        """Count its memory as long as it lives."""
        storage = dist.local(tensor).untyped_storage()
        key = id(storage)
        if key in self._live:
            return
        n_bytes = storage.nbytes()

        def gone(_: Any) -> None:
            if self._live.pop(key, None) is not None:
                self._bytes -= n_bytes

        self._live[key] = weakref.ref(storage, gone)
        self._bytes += n_bytes

    def _measure(self) -> None:
        """Storages may have been given another size: FSDP lets gathered parameters go in this way."""
        storages = [storage for storage in (ref() for ref in list(self._live.values())) if storage is not None]
        self._bytes = sum(storage.nbytes() for storage in storages)

    def live_bytes(self, without: Iterable[torch.Tensor]) -> int:
        """Bytes that live now, but for those of some tensors."""
        left_out = {id(dist.local(tensor).untyped_storage()) for tensor in without}
        found = [(key, ref()) for key, ref in list(self._live.items())]
        return sum(storage.nbytes() for key, storage in found if storage is not None and key not in left_out)

    def _note(self, name: str, args: tuple[Any, ...], out: Any) -> None:
        kind = next((word for part, word in _KINDS.items() if part in name), None)
        if kind is None:
            return
        sides = [
            sum(dist.local(one).nbytes for one in tree_leaves(side) if isinstance(one, torch.Tensor))
            for side in (args, out)
        ]
        if name.startswith("c10d"):  # in place: the arguments have both sides, of which one is the larger
            tensors = [one.nbytes for one in tree_leaves(args) if isinstance(one, torch.Tensor)]
            sides = [max(tensors, default=0)] if "_base_" in name else [sum(tensors)]
        self.add(kind, _group_size(args), max(sides))

    def add(self, kind: str, group_size: int, n_bytes: int, n_calls: int = 1) -> None:
        """Messages that are known without being seen."""
        entry = self.traffic.setdefault((kind, group_size), Traffic(kind, group_size))
        entry.add(n_bytes, n_calls)


def _group_size(args: tuple[Any, ...]) -> int:
    for one in args:
        if isinstance(one, torch.ScriptObject):
            try:
                return int(torch_dist.ProcessGroup.unbox(one).size())
            except RuntimeError:  # another object, such as the operation of a reduction
                continue
    names = [one for one in args if isinstance(one, str)]
    return int(_c10d._resolve_process_group(names[-1]).size()) if names else dist.get_world_size()


class StandInForDDP(nn.Module):
    """A model in place of its DistributedDataParallel, which cannot hold fake tensors; it notes what that sends."""

    def __init__(self, module: nn.Module, bucket_cap_mb: float | None = None) -> None:
        super().__init__()
        self.module = module
        # By default the first bucket is a small one; a size that is set is that of all.
        first = [] if bucket_cap_mb else [_distributed._DEFAULT_FIRST_BUCKET_BYTES]
        self._limits = [*first, int((bucket_cap_mb or 25) * 1024 * 1024)]
        self.bucket_bytes: list[int] = []

    def train_step(self, data: Any, optim_wrapper: Any) -> Any:
        """That of the model."""
        module: Any = self.module
        return module.train_step(data, optim_wrapper)

    def exchange(self, recorder: StepRecorder) -> None:
        """Note the all-reduces of one backward, in the order in which the buckets fill: last parameters first."""
        params = [param for param in self.module.parameters() if param.requires_grad][::-1]
        buckets, _ = _distributed._compute_bucket_assignment_by_size(params, self._limits, [False] * len(params))
        self.bucket_bytes = [sum(params[place].nbytes for place in bucket) for bucket in buckets]
        for n_bytes in self.bucket_bytes:
            recorder.add("all-reduce", dist.get_world_size(), n_bytes)


def sizes(tensors: Iterable[Any]) -> tuple[int, int]:
    """Bytes on this rank, and of the whole tensors."""
    own = whole = 0
    for tensor in tensors:
        part = dist.local(tensor)
        own += part.numel() * part.element_size()
        whole += tensor.numel() * tensor.element_size()
    return own, whole


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """All tensors of its state."""
    return [value for state in optimizer.state.values() for value in _values(state)]


def _values(state: Mapping[str, Any]) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(dict(state)) if isinstance(leaf, torch.Tensor)]
