"""Logs how much memory is used, and reports what filled it when it runs out."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any

import torch

from trainwright.base.errors import add_note
from trainwright.engine import Hook
from trainwright.hooks.intervals import is_log_iter, log_interval, next_log_iter, whole_number
from trainwright.io import atomic_write_text
from trainwright.registry import HOOKS

_MIB = 2**20


def host_memory_peak_mb() -> int:
    """Largest resident size of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak / _MIB if sys.platform == "darwin" else peak / 1024)


@HOOKS.register_extra
class MemoryReportHook(Hook):
    """Logs memory in MiB before each log line (`interval` iterations; None: that of LoggerHook): on CUDA
    ``device_memory_peak_mb`` and ``device_memory_reserved_mb``, the most that tensors took and that torch held so far;
    everywhere ``host_memory_peak_mb``.

    When memory runs out, on the device or the host, in training, validation or test, a report is added to the error
    and written to ``out_of_memory.txt`` in the log folder (``out_of_memory_rank<n>.txt`` on other ranks than 0): in
    which module it happened, with which batch, memory by module, and the `n_top` largest tensors. It is made from
    what is there at that moment, so that nothing is paid for it before.
    """

    # Before the hooks that put weights back or let go of them after an error.
    priority = "VERY_HIGH"

    def __init__(self, interval: int | None = None, n_top: int = 20) -> None:
        self.interval = None if interval is None else whole_number(self, "interval", interval)
        self.n_top = whole_number(self, "n_top", n_top)
        self._interval = 10

    def before_train(self, runner: Any) -> None:
        """Settle the interval."""
        self._interval = log_interval(runner, self.interval)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Log the peaks: the allocator's own counters on the host, no wait for the device."""
        if not is_log_iter(runner.ctx.clock, batch_idx, self._interval):
            return
        values: dict[str, int] = {}
        device = runner.strategy.device
        if device.type == "cuda":
            values["device_memory_peak_mb"] = torch.cuda.max_memory_allocated(device) // _MIB
            values["device_memory_reserved_mb"] = torch.cuda.max_memory_reserved(device) // _MIB
        values["host_memory_peak_mb"] = host_memory_peak_mb()
        runner.ctx.metrics.put("train", values)

    def next_train_iter(self, runner: Any) -> int | None:
        """The next log time."""
        return next_log_iter(runner.ctx.clock, self._interval)

    def on_exception(self, runner: Any, phase: str, error: BaseException) -> None:
        """Report, when memory ran out."""
        from trainwright.hooks.out_of_memory import is_out_of_memory, memory_report

        if not is_out_of_memory(error):
            return
        text = memory_report(runner, phase, error, self.n_top)
        name = "out_of_memory.txt" if runner.rank == 0 else f"out_of_memory_rank{runner.rank}.txt"
        path = Path(runner.log_dir) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, text)
        add_note(error, f"{text}\n(also in {path})")
