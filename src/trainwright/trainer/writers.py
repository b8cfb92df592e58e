"""Writers: what takes events from the open storage and shows them, on the terminal, in a JSON file, to TensorBoard."""

from __future__ import annotations

import datetime
import json
import logging
import os
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar, TextIO

import torch

from trainwright.base.errors import ConfigError
from trainwright.base.optional import require
from trainwright.io import is_url
from trainwright.trainer.events import EventStorage, EventWriter, get_event_storage
from trainwright.trainer.history import HistoryBuffer

_MIB = 1024.0 * 1024.0
Histories = dict[str, HistoryBuffer]


class JSONWriter(EventWriter):
    """Appends to ``json_file`` one JSON object a line, its keys sorted: the scalars of one ``iteration``.

    A write gives all scalars that were put since the last one, each once, with the newest value (smoothed over
    ``window_size`` iterations where the scalar is). Those put at other iterations than the rest get lines of their own.
    Lines are in the hands of the system when write() returns; a thread sees to it that they come to the disk.

    API of detectron2's JSONWriter.
    """

    def __init__(self, json_file: str | os.PathLike[str], window_size: int = 20) -> None:
        self._path = os.fspath(json_file)
        if is_url(self._path):
            raise ConfigError(
                f"JSONWriter appends to a file on a local disk, but got the URL {self._path!r}: storage behind a URL "
                "cannot be appended to. Give a local path, and copy the file after training."
            )
        self._window_size = window_size
        self._last_write = -1
        self._file: TextIO | None = self._opened()
        self._disk: ThreadPoolExecutor | None = None
        self._syncing: Future[None] | None = None

    def _opened(self) -> TextIO:
        path = Path(self._path)
        path.parent.mkdir(parents=True, exist_ok=True)
        is_torn = path.is_file() and not _ends_a_line(path)
        file = path.open("a", encoding="utf-8")
        if is_torn:  # by a kill: what was left of its last line stays a line of its own
            file.write("\n")
        return file

    def write(self) -> None:
        """Append the lines of what is new."""
        lines: dict[int, dict[str, float]] = {}
        for name, (value, at) in get_event_storage().latest_with_smoothing_hint(self._window_size).items():
            if at > self._last_write:
                lines.setdefault(at, {})[name] = value
        if not lines:
            return
        if self._file is None:  # closed after a training; there is another
            self._file = self._opened()
        for at in sorted(lines):
            self._file.write(json.dumps({**lines[at], "iteration": at}, sort_keys=True) + "\n")
        self._last_write = max(lines)
        self._file.flush()
        self._sync(self._file)

    def _sync(self, file: TextIO) -> None:
        """Begin to bring the file to the disk. Where the last time has not ended yet, the next write does it."""
        if self._syncing is not None:
            if not self._syncing.done():
                return
            self._syncing.result()
        if self._disk is None:
            self._disk = ThreadPoolExecutor(max_workers=1)
        self._syncing = self._disk.submit(os.fsync, file.fileno())

    def close(self) -> None:
        """Close the file, when it is on the disk; a later write opens it again."""
        file, disk, syncing = self._file, self._disk, self._syncing
        self._file = self._disk = self._syncing = None
        if disk is not None:
            disk.shutdown()
        if file is not None:
            with file:
                if syncing is not None:
                    syncing.result()
                os.fsync(file.fileno())

    def state_dict(self) -> dict[str, Any]:
        """Up to which iteration it has written."""
        return {"last_write": self._last_write}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind the saved iteration."""
        self._last_write = int(state["last_write"])


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        n_bytes = file.seek(0, os.SEEK_END)
        file.seek(max(n_bytes - 1, 0))
        return file.read() in (b"", b"\n")


class TensorboardXWriter(EventWriter):
    """Writes scalars, images and histograms to TensorBoard's event files in ``log_dir``.

    ``kwargs`` are those of ``torch.utils.tensorboard.SummaryWriter``. Images and histograms are dropped from the
    storage once they are written: one such writer gets them.

    API of detectron2's TensorboardXWriter.
    """

    def __init__(self, log_dir: str, window_size: int = 20, **kwargs: Any) -> None:
        self._window_size = window_size
        self._writer_args = {"log_dir": log_dir, **kwargs}
        self._last_write = -1

    @cached_property
    def _writer(self) -> Any:
        require("tensorboard", "vis", "TensorboardXWriter")
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(**self._writer_args)

    def write(self) -> None:
        """Write what is new."""
        storage = get_event_storage()
        newest = self._last_write
        for name, (value, at) in storage.latest_with_smoothing_hint(self._window_size).items():
            if at > self._last_write:
                self._writer.add_scalar(name, value, at)
                newest = max(newest, at)
        self._last_write = newest
        if storage._vis_data:
            for name, image, at in storage._vis_data:
                self._writer.add_image(name, image, at)
            storage.clear_images()
        histograms = storage._histograms
        if histograms:
            for histogram in histograms:
                self._writer.add_histogram_raw(**histogram)
            storage.clear_histograms()

    def close(self) -> None:
        """Close the event file, if one was opened."""
        if "_writer" in self.__dict__:
            self._writer.close()

    def state_dict(self) -> dict[str, Any]:
        """Up to which iteration it has written."""
        return {"last_write": self._last_write}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind the saved iteration."""
        self._last_write = int(state["last_write"])


class CommonMetricPrinter(EventWriter):
    """Logs a line: time left, iteration, losses, seconds an iteration and those for its data, learning rate, memory.

    Losses are the scalars with ``loss`` in their name; those with ``[metric]`` in it follow. Both are medians over
    ``window_size`` iterations. Without ``max_iter`` there is no time left to tell. Lines go to :attr:`logger`.

    API of detectron2's CommonMetricPrinter.
    """

    logger_name: ClassVar[str] = "trainwright.trainer"

    def __init__(self, max_iter: int | None = None, window_size: int = 20) -> None:
        self.logger = logging.getLogger(self.logger_name)
        self._max_iter = max_iter
        self._window_size = window_size
        self._last_write: tuple[int, float] | None = None  # iteration and time of the last line

    def write(self) -> None:
        """Log the line of the running iteration; none when training is over."""
        storage = get_event_storage()
        if storage.iter == self._max_iter:
            return
        histories = storage.histories()
        losses = self._medians(histories, "loss")
        others = self._medians(histories, "[metric]")
        times = self._times(histories)
        rate = f"{histories['lr'].latest():.5g}" if "lr" in histories else "N/A"
        eta = self._eta(storage, histories)
        eta = f"eta: {eta}  " if eta else ""
        # Scripts read this line by its keys.
        self.logger.info(f" {eta}iter: {storage.iter}  {losses}  {others}  {times}lr: {rate}  {_peak_memory()}")

    def _n_samples(self, history: HistoryBuffer) -> int:
        return history.n_since(history.latest_iteration() - self._window_size)

    def _medians(self, histories: Histories, mark: str) -> str:
        return "  ".join(
            f"{name}: {history.median(self._n_samples(history)):.4g}"
            for name, history in histories.items()
            if mark in name
        )

    def _times(self, histories: Histories) -> str:
        text = ""
        if "time" in histories:
            text += f"time: {histories['time'].global_avg():.4f}  last_time: {histories['time'].latest():.4f}  "
        if "data_time" in histories:
            history = histories["data_time"]
            average = history.avg(self._n_samples(history))
            text += f"data_time: {average:.4f}  last_data_time: {history.latest():.4f}  "
        return text

    def _eta(self, storage: EventStorage, histories: Histories) -> str:
        if self._max_iter is None:
            return ""
        iteration, now = storage.iter, perf_counter()
        n_left = self._max_iter - iteration - 1
        if "time" in histories:
            left_s = histories["time"].median(1000) * n_left
            storage.put_scalar("eta_seconds", left_s, smoothing_hint=False)
            return str(datetime.timedelta(seconds=int(left_s)))
        # Without a timer, by the time since the last line.
        last, self._last_write = self._last_write, (iteration, now)
        if last is None or last[0] == iteration:
            return ""
        return str(datetime.timedelta(seconds=int((now - last[1]) / (iteration - last[0]) * n_left)))


def _peak_memory() -> str:
    if not torch.cuda.is_available():
        return ""
    return f"max_mem: {torch.cuda.max_memory_allocated() / _MIB:.0f}M"
