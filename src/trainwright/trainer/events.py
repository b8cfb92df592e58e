"""What a training step tells about itself, kept until a writer asks: the store, apart from producers and writers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import get_ident
from types import TracebackType
from typing import Any

import torch

from trainwright.base.errors import EventStorageError, UnknownMetricError
from trainwright.base.text import did_you_mean
from trainwright.state import Clock, MetricStore
from trainwright.trainer.history import HistoryBuffer

_FOLD_ROWS = 4096  # see MetricStore.rows

# Innermost last, each with the thread that opened it. One list for all threads: a step may have its metrics put by a
# thread of its own, which has opened none.
_OPEN: list[tuple[int, EventStorage]] = []


def get_event_storage() -> EventStorage:
    """The innermost storage that is open (``with EventStorage(...)``, or a trainer that trains): of those that this
    thread has opened, if it has any."""
    if not _OPEN:
        raise EventStorageError(
            "get_event_storage() was called where no event storage is open: call it while a trainer trains, or inside "
            "`with EventStorage(): ...`. has_event_storage() says whether one is."
        )
    own, (opened_by, newest) = get_ident(), _OPEN[-1]
    if opened_by == own or len(_OPEN) == 1:
        return newest
    return next((storage for thread, storage in reversed(_OPEN) if thread == own), newest)


def has_event_storage() -> bool:
    """Whether a storage is open."""
    return bool(_OPEN)


class EventWriter:
    """Takes events from the open storage (:func:`get_event_storage`) and writes them somewhere."""

    def write(self) -> None:
        """Write what is new."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what it holds."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it, so that a resumed run writes nothing twice; empty by default."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""


class _Scalar:
    """One name: where its rows wait, and whether writers smooth it."""

    __slots__ = ("hint", "rows")

    def __init__(self, rows: list[Any], hint: bool) -> None:
        self.rows = rows
        self.hint = hint


class EventStorage:
    """Scalars, images and histograms of a run, by name and iteration.

    ``put_scalar`` of a device tensor reads nothing: values wait in a metric store, and are read together when
    somebody asks for a history. The storage of a trainer stands on the clock and the metric store of its run; alone it
    has its own.

    API of detectron2's EventStorage.
    """

    def __init__(self, start_iter: int = 0, *, clock: Clock | None = None, metrics: MetricStore | None = None) -> None:
        self._owns_clock = clock is None
        self._clock = Clock(iter=int(start_iter)) if clock is None else clock
        self._held: tuple[int, int] | None = None  # an iteration that was set, until the run's own goes on
        self._metrics = MetricStore(self._clock) if metrics is None else metrics
        self._metrics.flush()  # what waits there is somebody else's
        self._metrics.watcher = self._receive
        self._scalars: dict[str, _Scalar] = {}
        self._histories: dict[str, HistoryBuffer] = {}
        self._hints: dict[str, bool] = {}
        self.prefix = ""  # of the names that are put: the name scopes that are open
        # Writers of other projects read these two under these names.
        self._vis_data: list[tuple[str, Any, int]] = []
        self._waiting_histograms: list[_Histogram] = []
        self._read_histograms: list[dict[str, Any]] = []

    @property
    def metrics(self) -> MetricStore:
        """Where values wait until they are read."""
        return self._metrics

    # ------------------------------------------------------------------------------------------------------- producers
    def put_scalar(
        self, name: str, value: torch.Tensor | float, smoothing_hint: bool = True, cur_iter: int | None = None
    ) -> None:
        """Keep a number or a tensor of one element for the running iteration (``cur_iter`` where it is given).

        ``smoothing_hint``: whether it is noisy, so that writers show its median over a window. Two different hints for
        one name are an EventStorageError.
        """
        if type(value) is not float:
            value = MetricStore.kept("", self.prefix + name, value) if isinstance(value, torch.Tensor) else float(value)
        self._put(name, value, smoothing_hint, cur_iter)

    def put_output(self, name: str, value: Any, cur_iter: int | None = None) -> None:
        """``put_scalar`` for what a model has just returned: nobody writes into that again, so it is not copied."""
        is_tensor = type(value) is torch.Tensor
        # As MetricStore.put tells it.
        if is_tensor and not value.is_leaf and value._base is None and value.is_cpu and not value.dim():
            self._put(name, value.detach(), True, cur_iter)
        else:
            self.put_scalar(name, value, True, cur_iter)

    def _put(self, name: str, value: Any, smoothing_hint: bool, cur_iter: int | None) -> None:
        if self.prefix:
            name = self.prefix + name
        scalar = self._scalars.get(name)
        if scalar is None or scalar.hint is not smoothing_hint:
            scalar = self._new_scalar(name, bool(smoothing_hint))
        if cur_iter is None:
            cur_iter = self._clock.iter if self._held is None else self.iter
        rows = scalar.rows
        rows.append((cur_iter, 1, value))
        if len(rows) >= _FOLD_ROWS:
            self._metrics.fold()

    def put_scalars(self, *, smoothing_hint: bool = True, cur_iter: int | None = None, **kwargs: Any) -> None:
        """``put_scalar`` for each keyword."""
        for name, value in kwargs.items():
            self.put_scalar(name, value, smoothing_hint, cur_iter)

    def put_image(self, img_name: str, img_tensor: Any) -> None:
        """Keep an image for a writer that shows images: ``(C, H, W)``, uint8 in [0, 255] or float in [0, 1], RGB."""
        self._vis_data.append((img_name, img_tensor, self.iter))

    def put_histogram(self, hist_name: str, hist_tensor: torch.Tensor, bins: int = 1000) -> None:
        """Keep the histogram of a tensor's values; it is counted on its device, and read when a writer asks."""
        self._waiting_histograms.append(_Histogram(hist_name, hist_tensor, bins, self.iter))

    def _new_scalar(self, name: str, hint: bool) -> _Scalar:
        known = self._hints.setdefault(name, hint)
        if known != hint:
            raise EventStorageError(
                f"scalar {name} was put with a different smoothing_hint before: now {hint}, before {known}. One name "
                "is smoothed always or never; put the other values under a name of their own."
            )
        if name not in self._scalars:
            self._scalars[name] = _Scalar(self._metrics.rows("", name), hint)
            self._metrics.unkept.add(name)  # histories here have iterations, and are the only ones
            self._histories.setdefault(name, HistoryBuffer(self._metrics.max_length))
        return self._scalars[name]

    # --------------------------------------------------------------------------------------------------------- readers
    def _receive(self, flushed: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> None:
        for name, (iters, values) in flushed.items():
            if name not in self._histories:
                self._histories[name] = HistoryBuffer(self._metrics.max_length)
                self._hints.setdefault(name, True)
            self._histories[name].extend(values, iters)

    def histories(self) -> dict[str, HistoryBuffer]:
        """All scalars that have a value, in the order in which they first came. Synchronises."""
        self._metrics.flush()
        return {name: history for name, history in list(self._histories.items()) if len(history)}

    def history(self, name: str) -> HistoryBuffer:
        """The history of one scalar; a KeyError when it has no value. Synchronises."""
        found = self.histories()
        if name not in found:
            raise UnknownMetricError(
                f"there is no value of {name!r} in this event storage; it has {', '.join(found) or 'none at all'}."
                f"{did_you_mean(name, found)}"
            )
        return found[name]

    def latest(self) -> dict[str, tuple[float, int]]:
        """``{name: (newest value, its iteration)}``. Synchronises."""
        return {name: (history.latest(), int(history.latest_iteration())) for name, history in self.histories().items()}

    def latest_with_smoothing_hint(self, window_size: int = 20) -> dict[str, tuple[float, int]]:
        """:meth:`latest`, with the median over the last ``window_size`` iterations for scalars that are smoothed."""
        found = {}
        for name, (value, at) in self.latest().items():
            history = self._histories[name]
            smoothed = history.median(history.n_since(at - window_size)) if self._hints[name] else value
            found[name] = (smoothed, at)
        return found

    def count_samples(self, name: str, window_size: int = 20) -> int:
        """How many values of ``name`` there are in its last ``window_size`` iterations."""
        history = self.history(name)
        return history.n_since(history.latest_iteration() - window_size)

    def smoothing_hints(self) -> dict[str, bool]:
        """``{name: whether it is smoothed}``."""
        return self._hints

    @property
    def _histograms(self) -> list[dict[str, Any]]:
        """Arguments of ``SummaryWriter.add_histogram_raw``, one dict a histogram. Synchronises."""
        self._read_histograms += [waiting.read() for waiting in self._waiting_histograms]
        self._waiting_histograms = []
        return self._read_histograms

    def clear_images(self) -> None:
        """Forget the images, as the writer does that has written them."""
        self._vis_data = []

    def clear_histograms(self) -> None:
        """Forget the histograms, as the writer does that has written them."""
        self._waiting_histograms, self._read_histograms = [], []

    # ------------------------------------------------------------------------------------------------------- iteration
    @property
    def iter(self) -> int:
        """The running iteration. In a trainer it follows the trainer's: one that is set holds until the next begins."""
        if self._held is not None:
            if self._held[0] == self._clock.iter:
                return self._held[1]
            self._held = None
        return self._clock.iter

    @iter.setter
    def iter(self, value: int) -> None:
        if self._owns_clock:
            self._clock.iter = int(value)
        else:
            self._held = None if int(value) == self._clock.iter else (self._clock.iter, int(value))

    @property
    def iteration(self) -> int:
        """:attr:`iter` under an older name."""
        return self.iter

    def step(self) -> None:
        """Go on to the next iteration; a trainer does so by itself."""
        self.iter += 1

    def __enter__(self) -> EventStorage:
        _OPEN.append((get_ident(), self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        own = get_ident()
        newest = next((entry for entry in reversed(_OPEN) if entry[0] == own), None)
        if newest is None or newest[1] is not self:
            raise EventStorageError("event storages must be closed in the reverse order of their opening.")
        _OPEN.remove(newest)

    @contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Within it, scalars are put as ``name/...``."""
        outer = self.prefix
        self.prefix = f"{name.rstrip('/')}/"
        try:
            yield
        finally:
            self.prefix = outer

    # ----------------------------------------------------------------------------------------------------------- state
    def state_dict(self) -> dict[str, Any]:
        """All histories with their hints, as tensors and plain data: medians after a resume go on as if it had not
        been. Synchronises."""
        return {
            name: {**history.state_dict(), "smoothing_hint": self._hints[name]}
            for name, history in self.histories().items()
        }

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace all histories by saved ones."""
        self._metrics.discard()
        self._scalars, self._histories, self._hints = {}, {}, {}
        for name, saved in state.items():
            self._histories[name] = HistoryBuffer(self._metrics.max_length)
            self._histories[name].load_state_dict(dict(saved))
            self._hints[name] = bool(saved["smoothing_hint"])


class _Histogram:
    """Counts of a tensor's values, on its device until they are read."""

    def __init__(self, tag: str, tensor: torch.Tensor, bins: int, at: int) -> None:
        values = tensor.detach().float().reshape(-1)
        wide = torch.float32 if tensor.device.type == "mps" else torch.float64  # which has no other
        low, high = torch.aminmax(values)
        sums = [values.sum(dtype=wide), values.square().sum(dtype=wide)]
        counts = torch.histc(values, bins=bins).to(wide)
        self._numbers = torch.cat([torch.stack([low.to(wide), high.to(wide), *sums]), counts])
        self._settings = {"tag": tag, "num": values.numel(), "global_step": at}

    def read(self) -> dict[str, Any]:
        # Synchronises: .tolist() waits for the device.
        low, high, total, squares, *counts = self._numbers.tolist()
        edges = torch.linspace(low, high, len(counts) + 1, dtype=torch.float32)
        numbers = {"min": low, "max": high, "sum": total, "sum_squares": squares}
        return {**self._settings, **numbers, "bucket_limits": edges[1:].tolist(), "bucket_counts": counts}
