"""Counts how often the host reads a tensor: each read makes the host wait until the device has caught up."""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_TORCH = str(Path(torch.__file__).parent)
_METHODS = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__", "__complex__")
_READS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.equal.default,
    torch.ops.aten.allclose.default,
    torch.ops.aten.nonzero.default,  # the size of its result depends on the values
    torch.ops.aten.masked_select.default,
}
# operator -> which argument is the source
_COPIES = {torch.ops.aten._to_copy.default: 0, torch.ops.aten.copy_.default: 1}


class HostReads:
    """Reads by (what, where): the method or operator, and the file and line that asked for it."""

    def __init__(self) -> None:
        self.sites: Counter[tuple[str, str]] = Counter()
        self._inside = False

    @property
    def total(self) -> int:
        """Number of reads so far."""
        return self.sites.total()

    def report(self) -> str:
        """One line a site, most frequent first."""
        return "\n".join(f"{n:6d}  {what:22s} {where}" for (what, where), n in self.sites.most_common()) or "no reads"

    def add(self, what: str) -> None:
        """Count one read, unless it is a part of one that was counted already."""
        if not self._inside:
            self.sites[what, _caller(sys._getframe(1))] += 1

    @contextmanager
    def part_of(self, what: str) -> Iterator[None]:
        """Count one read, and none of those made inside the block."""
        self.add(what)
        before, self._inside = self._inside, True
        try:
            yield
        finally:
            self._inside = before


class _Watch(TorchDispatchMode):
    """Sees the reads that go round the methods of Tensor, and the copies from a device to the host."""

    def __init__(self, reads: HostReads) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._reads = reads

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        source = _COPIES.get(func)
        to_host = source is not None and out.device.type == "cpu" and args[source].device.type != "cpu"
        if to_host or func in _READS:
            self._reads.add(str(func))
        return out


def _caller(frame: FrameType | None) -> str:
    """File and line of the nearest frame outside torch, the standard library's contextlib and this file."""
    nearest = frame
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_TORCH) and name != __file__ and not name.endswith("contextlib.py"):
            nearest = frame
            break
        frame = frame.f_back
    return f"{nearest.f_code.co_filename}:{nearest.f_lineno}" if nearest is not None else "?"


def _counted(name: str, original: Callable[..., Any], reads: HostReads) -> Callable[..., Any]:
    @functools.wraps(original)
    def method(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        with reads.part_of(f"Tensor.{name}"):
            return original(self, *args, **kwargs)

    return method


@contextmanager
def count_host_reads() -> Iterator[HostReads]:
    """Count every host read of a tensor made by this thread's code inside the block.

    Counted once each: ``item``, ``tolist``, ``cpu``, ``numpy``, ``bool``, ``float``, ``int``, ``complex`` and use as an
    index, also where the tensor already lies on the host (on an accelerator the same line would wait); the operators
    underneath where C++ code calls them; and copies from a device to the host.

    Some optimizers keep their step counters in host tensors and read those: count with plain SGD.
    """
    reads = HostReads()
    own = {name: torch.Tensor.__dict__[name] for name in _METHODS if name in torch.Tensor.__dict__}
    for name in _METHODS:
        setattr(torch.Tensor, name, _counted(name, getattr(torch.Tensor, name), reads))
    try:
        with _Watch(reads):
            yield reads
    finally:
        for name in _METHODS:
            if name in own:
                setattr(torch.Tensor, name, own[name])
            else:
                delattr(torch.Tensor, name)
