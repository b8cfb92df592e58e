"""A state in the host's memory, that shares nothing with what training works on."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import torch

from trainwright.dist import is_sharded, local

_ATOMS = (str, int, float, bool, bytes, complex, type(None))


class HostMemory:
    """Memory that is used again by the next copy of about the same state: the first touch of fresh pages costs as much
    as the copy itself, and page-locked memory much more. It holds one state; a copy begins when the one before is not
    needed any more."""

    def __init__(self) -> None:
        self._free: dict[tuple[int, bool], list[torch.UntypedStorage]] = {}
        self._used: list[tuple[tuple[int, bool], torch.UntypedStorage]] = []

    def take(self, n_bytes: int, is_pinned: bool) -> torch.UntypedStorage:
        """Memory of that size; page-locked, so that a device writes into it by itself."""
        key = (n_bytes, is_pinned)
        waiting = self._free.get(key)
        storage = waiting.pop() if waiting else _empty(*key)
        self._used.append((key, storage))
        return storage

    def turn_over(self) -> None:
        """The copy that was made with it is not needed any more."""
        for key, storage in reversed(self._used):
            self._free.setdefault(key, []).append(storage)
        self._used.clear()

    def trim(self) -> None:
        """Give back what the last copy had no use for."""
        self._free.clear()

    @property
    def n_bytes(self) -> int:
        """How much is held."""
        waiting = sum(size * len(storages) for (size, _), storages in self._free.items())
        return waiting + sum(size for (size, _), _ in self._used)


class HostCopies:
    """One copy of a state, made in parts: what is shared in the state is shared in the copy, as are tied weights, and a
    tensor that is a copy already is taken as it is. With ``memory`` copies from a CUDA device run beside the host until
    :meth:`wait`."""

    def __init__(self, memory: HostMemory | None = None) -> None:
        self._memory = memory
        self._storages: dict[int, torch.UntypedStorage] = {}
        self._own: set[int] = set()
        self._tensors: dict[int, torch.Tensor] = {}
        self._sources: list[torch.Tensor] = []  # alive, so that nothing else gets their addresses
        self._devices: set[torch.device] = set()

    def tree(self, value: Any) -> Any:
        """The same tree with tensors and containers of its own."""
        if isinstance(value, torch.Tensor):
            return self.tensor(value)
        if type(value) is OrderedDict:
            ordered = OrderedDict((key, self.tree(item)) for key, item in value.items())
            vars(ordered).update(vars(value))  # the versions of a module's layout
            return ordered
        if type(value) is dict:
            return {key: self.tree(item) for key, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)(map(self.tree, value))
        return value if type(value) in _ATOMS else copy.deepcopy(value)

    def tensor(self, source: torch.Tensor) -> torch.Tensor:
        """A copy of a tensor; of a sharded one, of this rank's part."""
        if id(source) not in self._tensors:
            self._tensors[id(source)] = self._copied(source)
            self._sources.append(source)
        return self._tensors[id(source)]

    def adopt(self, tensor: torch.Tensor) -> None:
        """Take a tensor that was made for this copy, and is on the host, as it is."""
        self._own.add(tensor.untyped_storage()._cdata)
        self._sources.append(tensor)

    @torch.no_grad()
    def _copied(self, source: torch.Tensor) -> torch.Tensor:
        if is_sharded(source):
            kind: Any = type(source)
            part = self.tensor(local(source.detach()))
            return kind(part, source._spec, requires_grad=False)  # type: ignore[attr-defined,no-any-return]
        if source.is_meta:
            return source
        if not _is_dense(source):
            return source.detach().clone().to("cpu")
        storage = source.untyped_storage()
        if storage._cdata in self._own:
            return source
        result = torch.empty(0, dtype=source.dtype)
        result.set_(self._storage(storage), source.storage_offset(), source.shape, source.stride())
        if isinstance(source, torch.nn.Parameter):
            return torch.nn.Parameter(result, source.requires_grad)
        return result.requires_grad_(source.requires_grad)

    def _storage(self, source: torch.UntypedStorage) -> torch.UntypedStorage:
        if source._cdata not in self._storages:
            is_pinned = self._memory is not None and source.device.type == "cuda"
            size = source.nbytes()
            target = _empty(size, False) if self._memory is None else self._memory.take(size, is_pinned)
            target.copy_(source, non_blocking=is_pinned)
            if is_pinned:
                self._devices.add(source.device)
            self._storages[source._cdata] = target
            self._own.add(target._cdata)
        return self._storages[source._cdata]

    def wait(self) -> None:
        """Until everything has arrived."""
        for device in self._devices:
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(device))
            event.synchronize()
        self._devices.clear()


def host_copy(value: Any) -> Any:
    """The same tree with tensors of its own on the host."""
    return HostCopies().tree(value)


def weights_on_host(state: dict[str, Any], copies: HostCopies | None = None) -> dict[str, Any]:
    """A model's state dict on the CPU: copied where ``copies`` are being made, else those that lie there are shared."""
    to_host = torch.Tensor.cpu if copies is None else copies.tensor
    weights = OrderedDict((name, to_host(value.detach())) for name, value in state.items())
    if copies is not None:
        copies.wait()  # hooks may look at them
    vars(weights)["_metadata"] = getattr(state, "_metadata", {})  # versions of the modules' layouts
    return weights


def _empty(n_bytes: int, is_pinned: bool) -> torch.UntypedStorage:
    return torch.empty(n_bytes, dtype=torch.uint8, pin_memory=is_pinned).untyped_storage()


def _is_dense(tensor: torch.Tensor) -> bool:
    """Whether it is described by its storage, offset, shape and strides."""
    is_plain = type(tensor).__torch_dispatch__ is torch.Tensor.__torch_dispatch__
    return (
        is_plain
        and tensor.layout == torch.strided
        and not (tensor.is_quantized or tensor.is_nested or tensor.is_conj() or tensor.is_neg())
    )
