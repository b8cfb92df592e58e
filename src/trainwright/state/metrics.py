"""Where metrics wait on their device until somebody reads them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from threading import RLock
from typing import Any

import torch

from trainwright.base.errors import NonFiniteLossError, RuleError
from trainwright.state.clock import Clock
from trainwright.state.history import HistoryBuffer

Value = torch.Tensor | float | int
# iteration, count, then the values in the order of the table's names
_Row = Sequence[Any]


@dataclass(slots=True)
class _Piece:
    """Values of one metric in order, as numbers or as one tensor of shape (n,)."""

    name: str
    table: tuple[str, ...]
    iters: Sequence[int]
    counts: Sequence[float]
    values: Sequence[float] | torch.Tensor


@dataclass(slots=True)
class _Chunk:
    """The pieces of folded rows."""

    n_rows: int
    pieces: list[_Piece]


def _stacked(column: Sequence[Any]) -> torch.Tensor | None:
    """A column of one-element tensors of one device as one ``(n,)`` of floats; None for any other column."""
    try:
        stack = torch.stack(column)  # type: ignore[arg-type]
    except (TypeError, RuntimeError):  # numbers among them, several devices, or shapes () and (1,)
        return None
    stack = stack.reshape(-1)
    if stack.dtype in (torch.float32, torch.float64):
        return stack
    wide = stack.dtype in (torch.int64, torch.int32) and stack.device.type != "mps"
    return stack.to(torch.float64 if wide else torch.float32)


class MetricStore:
    """Named scalars, put every iteration without a host read, and moved to the host together by :meth:`flush`.

    ``put`` keeps tensors where they are: detached, and copied where a producer might reuse its output buffer. ``flush``
    moves all of them in one copy per device, and does whatever work can wait: an iteration pays for an append. When
    nobody flushes, rows are folded on the device every ``fold_rows`` rows, and the oldest fold is dropped once more
    than ``max_length`` rows wait: memory stays bounded.

    ``must_be_finite`` decides by its full name which metric raises NonFiniteLossError when a flush finds it infinite
    or NaN; None (the default) lets all pass. ``watcher`` gets what each flush has stored, before that check, as
    ``{full name: (iterations, values)}``; names in ``unkept`` are put for it alone, and go into no history.
    """

    def __init__(self, clock: Clock, max_length: int = 1_000_000, fold_rows: int = 4096) -> None:
        self.histories: dict[str, HistoryBuffer] = {}
        self.max_length = max_length
        self.must_be_finite: Callable[[str], bool] | None = None
        self.watcher: Callable[[dict[str, tuple[Sequence[int], Sequence[float]]]], None] | None = None
        self.unkept: set[str] = set()
        self._clock = clock
        self._fold_rows = fold_rows
        self._tables: dict[tuple[str, ...], list[_Row]] = {}  # (prefix, *names) -> rows
        self._rivals: dict[tuple[str, ...], list[list[_Row]]] = {}  # tables that share a name with this one
        self._chunks: list[_Chunk] = []
        self._lock = RLock()  # one thread may put what another reads

    def put(self, prefix: str, values: Mapping[str, Any], count: float = 1) -> None:
        """Keep ``{name: one-element tensor or number}`` as ``prefix/name`` for the running iteration; no host read.

        A tensor of more than one element raises TrainwrightError here; what is no number at all does at the flush.
        """
        row: list[Any] = [self._clock.iter, count]
        for name, value in values.items():
            kind = type(value)
            if kind is torch.Tensor and not value.is_leaf and value._base is None and value.is_cpu and not value.dim():
                # Just made by autograd, on the CPU, in this iteration: nobody will write into it again.
                row.append(value.detach())
            else:
                row.append(value if kind is float else self.kept(prefix, name, value))
        key = (prefix, *values)
        rows = self._tables.get(key)
        if rows is None:
            rows = self.rows(prefix, *values)
        if self._rivals and any(other and other[-1][0] == row[0] for other in self._rivals.get(key, ())):
            self.fold()  # the same name again in this iteration, among other names: chunks keep the order
        rows.append(row)
        if len(rows) >= self._fold_rows:
            self.fold()

    @staticmethod
    def kept(prefix: str, name: str, value: Any) -> Any:
        """A value as a row may hold it: a tensor is copied, for its producer may reuse the buffer (CUDA graphs do)."""
        if not isinstance(value, torch.Tensor):
            return value
        if value.numel() != 1:
            full = f"{prefix}/{name}" if prefix else name
            raise RuleError(
                f"metric {full} is a tensor of shape {tuple(value.shape)}: a logged metric is one number. "
                "Reduce it (for instance with .mean()) in the model before it is returned."
            )
        return value.detach().clone()

    def rows(self, prefix: str, *names: str) -> list[_Row]:
        """The waiting rows of these names, for a caller on the hot path that appends ``(iteration, 1, *numbers)``
        itself. Such a caller folds the store when the list reaches 4096 rows. It is the same list for good."""
        key = (prefix, *names)
        with self._lock:
            if key not in self._tables:
                own: list[_Row] = []
                for other, waiting in self._tables.items():
                    if other[0] == prefix and not set(names).isdisjoint(other[1:]):
                        self._rivals.setdefault(key, []).append(waiting)
                        self._rivals.setdefault(other, []).append(own)
                self._tables[key] = own
            return self._tables[key]

    def fold(self) -> None:
        """Turn the waiting rows into a chunk, column by column; work for the device only."""
        with self._lock:
            self._fold()

    def _fold(self) -> None:
        pieces: list[_Piece] = []
        n_rows = 0
        for table, rows in self._tables.items():
            if not rows:
                continue
            iters, counts, *columns = zip(*rows, strict=True)
            n_rows += len(iters)
            del rows[: len(iters)]  # not those that another thread has put since
            prefix, *names = table
            for name, column in zip(names, columns, strict=True):
                full = f"{prefix}/{name}" if prefix else name
                values = column if set(map(type, column)) == {float} else _stacked(column)
                if values is not None:
                    pieces.append(_Piece(full, table, iters, counts, values))
                else:
                    pieces += self._one_by_one(full, table, iters, counts, column)
        if n_rows:
            self._chunks.append(_Chunk(n_rows, pieces))
        if sum(chunk.n_rows for chunk in self._chunks) > self.max_length + self._fold_rows:
            del self._chunks[0]

    @classmethod
    def _one_by_one(
        cls, full: str, table: tuple[str, ...], iters: Sequence[int], counts: Sequence[float], column: Sequence[Any]
    ) -> list[_Piece]:
        pieces = []
        for at, count, value in zip(iters, counts, column, strict=True):
            one = _stacked([value]) if isinstance(value, torch.Tensor) else [cls._number(full, value)]
            assert one is not None
            pieces.append(_Piece(full, table, [at], [count], one))
        return pieces

    def flush(self) -> None:
        """Move everything that waits into the histories: the one host read, one copy per device.

        Raises NonFiniteLossError for the earliest bad iteration, after all values have been stored.
        """
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        self._fold()
        if not self._chunks:
            return
        pieces = [piece for chunk in self._chunks for piece in chunk.pieces]
        self._chunks = []
        on_device: dict[torch.device, list[_Piece]] = {}
        for piece in pieces:
            if isinstance(piece.values, torch.Tensor):
                on_device.setdefault(piece.values.device, []).append(piece)
        for waiting in on_device.values():
            stacks: list[Any] = [piece.values for piece in waiting]
            # Synchronises: .tolist() waits for the device.
            numbers = iter((stacks[0] if len(stacks) == 1 else torch.cat(stacks)).tolist())
            for piece in waiting:
                piece.values = list(islice(numbers, len(piece.iters)))
        bad: list[tuple[int, str, float]] = []
        flushed = self._store(pieces, bad)
        if self.watcher is not None:
            self.watcher(flushed)
        if bad:
            self._raise_not_finite(bad)

    def _store(
        self, pieces: list[_Piece], bad: list[tuple[int, str, float]]
    ) -> dict[str, tuple[Sequence[int], Sequence[float]]]:
        flushed: dict[str, tuple[Sequence[int], Sequence[float]]] = {}
        by_name: dict[str, list[_Piece]] = {}
        for piece in pieces:
            by_name.setdefault(piece.name, []).append(piece)
        for name, own in by_name.items():
            values: Any = own[0].values
            counts, iters = own[0].counts, own[0].iters
            if len(own) > 1:
                joined = [item for p in own for item in zip(p.iters, p.values, p.counts, strict=True)]
                if any(p.table is not own[0].table for p in own):  # put together with different other names
                    joined.sort(key=itemgetter(0))
                iters, values, counts = zip(*joined, strict=True)
            flushed[name] = (iters, values)
            if name in self.unkept:
                continue
            if name not in self.histories:
                self.histories[name] = HistoryBuffer(max_length=self.max_length)
            self.histories[name].extend(values, counts)
            rule = self.must_be_finite
            if rule is not None and rule(name) and not all(map(math.isfinite, values)):
                bad += [(at, name, v) for at, v in zip(iters, values, strict=True) if not math.isfinite(v)]
        return flushed

    @staticmethod
    def _number(full: str, value: Any) -> float:
        try:
            if isinstance(value, (str, bytes)):
                raise TypeError
            return float(value)
        except (TypeError, ValueError) as error:
            raise RuleError(
                f"metric {full} is {value!r} of type {type(value).__name__}: a logged metric is a number or a tensor "
                "of one element. Text and other objects are none; a Runner takes them by message_hub.update_info()."
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
        self._chunks = []
        for rows in self._tables.values():
            rows.clear()

    def lengths(self) -> dict[str, int]:
        """For :meth:`go_back`; flushes."""
        self.flush()
        return {name: history.n_added for name, history in self.histories.items()}

    def go_back(self, lengths: Mapping[str, int]) -> None:
        """Forget what waits and what was stored since :meth:`lengths` gave these."""
        self.discard()
        for name in list(self.histories):
            if name in lengths:
                self.histories[name].truncate(lengths[name])
            else:
                del self.histories[name]

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
