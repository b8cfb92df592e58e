"""Copies of a batch to an accelerator that run beside the computation on the batch before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch


def batches_ahead(loader: Any, device: torch.device, preprocessor: Any, streams: Any = None) -> Iterator[Any]:
    """``iter(loader)``; where the batches lie in pinned memory, with their copies to a CUDA `device` begun.

    The copies are for `preprocessor`, which takes them in place of its own (``copies_ahead``). Whoever else sees a
    batch sees it on the host, as ever. `streams` stands for ``torch.cuda``.
    """
    wanted = device.type == "cuda" and getattr(loader, "pin_memory", False) and hasattr(preprocessor, "copies_ahead")
    if not wanted:
        return iter(loader)
    if preprocessor.copies_ahead is None:
        preprocessor.copies_ahead = CopiesAhead(device, streams or torch.cuda)
    copies: CopiesAhead = preprocessor.copies_ahead
    return copies.over(iter(loader))


class CopiesAhead:
    """Begins the copy of each batch, on a stream of its own, when the batch is pulled from its loader.

    The host is then ahead of the device, which still computes on the batch before: so the copy runs meanwhile, and
    no further ahead than that, whatever the host does. No batch is pulled early, and what a checkpoint says of the
    loader's position is exact. Begun copies that nobody takes end the service.
    """

    def __init__(self, device: torch.device, streams: Any) -> None:
        self._device, self._streams = device, streams
        self._side = streams.Stream(device)
        self._begun: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # by id of the tensor on the host, kept alive
        self._handed_out: Any = None  # when the main stream came to the batch before
        self._copied: Any = None
        self._awaited = False
        self._useless = False

    def over(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches, each with its copy begun."""
        for batch in batches:
            self._begin(batch)
            yield batch
        self._begun = {}

    def take(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The copy of `tensor` on the device, for use in the current stream; None where none was begun."""
        _, copy = self._begun.get(id(tensor), (None, None))
        if copy is None:
            return None
        current = self._streams.current_stream(self._device)
        if not self._awaited:
            current.wait_event(self._copied)
            self._awaited = True
        copy.record_stream(current)  # its memory is not given to the next copy before this stream is done with it
        return copy

    def _begin(self, batch: Any) -> None:
        self._useless = self._useless or (bool(self._begun) and not self._awaited)
        self._begun = {}
        pinned = [] if self._useless else list(_pinned(batch))
        if not pinned:
            return
        if self._handed_out is not None:
            self._side.wait_event(self._handed_out)
        self._handed_out = self._streams.current_stream(self._device).record_event()
        with self._streams.stream(self._side):
            self._begun = {id(tensor): (tensor, tensor.to(self._device, non_blocking=True)) for tensor in pinned}
        self._copied = self._side.record_event()
        self._awaited = False

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """Nothing: the copy of a model is fed from elsewhere."""

    def __reduce__(self) -> Any:
        return type(None), ()


def _pinned(data: Any) -> Iterator[torch.Tensor]:
    if isinstance(data, torch.Tensor):
        if data.is_pinned():
            yield data
    elif isinstance(data, (list, tuple)):
        for value in data:
            yield from _pinned(value)
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from _pinned(value)
