"""Where metrics wait on their device until somebody reads them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from trainwright.base.errors import NonFiniteLossError, TrainwrightError
from trainwright.state.clock import Clock
from trainwright.state.history import HistoryBuffer

Value = torch.Tensor | float | int
# prefix, iteration, count, {name: value}; after folding, the device of a tensor stands in its place
_Row = tuple[str, int, float, dict[str, Any]]


@dataclass(slots=True)
class _Chunk:
    """Folded rows: their tensors as one tensor per device, in row order."""

    rows: list[_Row]
    stacks: dict[torch.device, torch.Tensor]


def _stack(tensors: list[torch.Tensor]) -> torch.Tensor:
    """One-element tensors as one tensor ``(n,)`` in the widest floating type that they need."""
    wide = any(t.dtype in (torch.float64, torch.int64) for t in tensors) and tensors[0].device.type != "mps"
    dtype = torch.float64 if wide else torch.float32
    return torch.stack([t.reshape(()).to(dtype) for t in tensors])


class MetricStore:
    """Named scalars, put every iteration without a host read, and moved to the host together by :meth:`flush`.

    ``put`` keeps tensors where they are: detached, and copied, so that a producer may reuse its output buffer (CUDA
    graphs do). ``flush`` moves all of them in one copy per device. When nobody flushes, rows are folded on the device
    every ``fold_rows`` puts, and the oldest fold is dropped once ``max_length`` rows wait: memory stays bounded.

    ``must_be_finite`` decides by its full name which metric raises NonFiniteLossError when a flush finds it infinite
    or NaN; None (the default) lets all pass.
    """

    def __init__(self, clock: Clock, max_length: int = 1_000_000, fold_rows: int = 4096) -> None:
        self.histories: dict[str, HistoryBuffer] = {}
        self.must_be_finite: Callable[[str], bool] | None = None
        self.max_length = max_length
        self._clock = clock
        self._fold_rows = fold_rows
        self._rows: list[_Row] = []
        self._chunks: list[_Chunk] = []

    def put(self, prefix: str, values: Mapping[str, Value], count: float = 1) -> None:
        """Keep ``{name: one-element tensor or number}`` as ``prefix/name`` for the running iteration; no host read.

        A tensor of more than one element raises TrainwrightError here; what is no number at all does at the flush.
        """
        kept: dict[str, Any] = {}
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                if value.numel() != 1:
                    raise TrainwrightError(
                        f"metric {prefix}/{name} is a tensor of shape {tuple(value.shape)}: a logged metric is one "
                        "number. Reduce it (for instance with .mean()) in the model before it is returned."
                    )
                # The copy must be made now: the producer may overwrite its buffer in the next iteration.
                kept[name] = value.detach().clone()
            else:
                kept[name] = value
        self._rows.append((prefix, self._clock.iter, count, kept))
        if len(self._rows) >= self._fold_rows:
            self._fold()

    def _fold(self) -> None:
        """Turn the waiting rows into a chunk; work for the device only."""
        if not self._rows:
            return
        by_device: dict[torch.device, list[torch.Tensor]] = {}
        for _, _, _, values in self._rows:
            for name, value in values.items():
                if isinstance(value, torch.Tensor):
                    by_device.setdefault(value.device, []).append(value)
                    values[name] = value.device
        self._chunks.append(_Chunk(self._rows, {device: _stack(tensors) for device, tensors in by_device.items()}))
        self._rows = []
        if sum(len(chunk.rows) for chunk in self._chunks) > self.max_length + self._fold_rows:
            del self._chunks[0]

    def flush(self) -> None:
        """Move everything that waits into the histories: the one host read, one copy per device.

        Raises NonFiniteLossError for the earliest bad iteration, after all values have been stored.
        """
        self._fold()
        if not self._chunks:
            return
        chunks, self._chunks = self._chunks, []
        parts: dict[torch.device, list[torch.Tensor]] = {}
        for chunk in chunks:
            for device, stack in chunk.stacks.items():
                parts.setdefault(device, []).append(stack)
        # Synchronises: .tolist() waits for the device.
        on_host = {d: iter((s[0] if len(s) == 1 else torch.cat(s)).tolist()) for d, s in parts.items()}
        bad: list[tuple[int, str, float]] = []
        for chunk in chunks:
            for row in chunk.rows:
                self._store(row, on_host, bad)
        if bad:
            self._raise_not_finite(bad)

    def _store(self, row: _Row, on_host: dict[torch.device, Iterator[float]], bad: list[tuple[int, str, float]]) -> None:
        prefix, iteration, count, values = row
        histories, check = self.histories, self.must_be_finite
        for name, value in values.items():
            full = f"{prefix}/{name}" if prefix else name
            number = next(on_host[value]) if isinstance(value, torch.device) else self._number(full, value)
            if full not in histories:
                histories[full] = HistoryBuffer(max_length=self.max_length)
            histories[full].update(number, count)
            if check is not None and not math.isfinite(number) and check(full):
                bad.append((iteration, full, number))

    @staticmethod
    def _number(full: str, value: Any) -> float:
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise TrainwrightError(
                f"metric {full} is {value!r} of type {type(value).__name__}: a logged metric is a number or a tensor "
                "of one element. Text and other objects go to message_hub.update_info()."
            ) from error

    def _raise_not_finite(self, bad: list[tuple[int, str, float]]) -> None:
        iteration = min(bad)[0]
        terms = ", ".join(f"{name} = {number}" for at, name, number in bad if at == iteration)
        raise NonFiniteLossError(
            f"the loss is not finite at iteration {iteration} (counted from 0): {terms}. It was found when the logged "
            f"values were read, after iteration {self._clock.iter}; checkpoints saved since then would be spoilt, so "
            "none was. Usual cures: a lower learning rate or a longer warm-up, "
            "optim_wrapper=dict(clip_grad=dict(max_norm=1.0)), a look at the batch of that iteration, bf16 instead of "
            "fp16. To train on regardless: default_hooks=dict(runtime_info=dict(type='RuntimeInfoHook', "
            "check_finite=False))."
        )

    def discard(self) -> None:
        """Drop what waits unread, as after an error."""
        self._rows, self._chunks = [], []

    def state_dict(self) -> dict[str, Any]:
        """Every history as tensors; flushes first."""
        self.flush()
        return {name: history.state_dict() for name, history in self.histories.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replace all histories by saved ones."""
        self.discard()
        self.histories = {}
        for name, saved in state.items():
            self.histories[name] = HistoryBuffer(max_length=self.max_length)
            self.histories[name].load_state_dict(saved)
