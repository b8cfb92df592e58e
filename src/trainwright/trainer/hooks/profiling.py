"""What an iteration spends its time and memory on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from trainwright.base.errors import ConfigError
from trainwright.dist import get_rank
from trainwright.io import is_url
from trainwright.trainer.hook_base import HookBase

_MIB = 1024.0 * 1024.0


class TorchProfiler(HookBase):
    """Records the iterations for which ``enable_predicate(trainer)`` is true, each in a trace of its own.

    Traces are for TensorBoard's profiler, in ``output_dir/log``, or with ``save_tensorboard=False`` for Chrome's
    ``about:tracing``, as ``output_dir/profiler-trace-iter*.json``. ``activities`` are torch.profiler's; all when None.
    """

    def __init__(
        self,
        enable_predicate: Callable[[Any], bool],
        output_dir: str,
        *,
        activities: Sequence[Any] | None = None,
        save_tensorboard: bool = True,
    ) -> None:
        if is_url(output_dir):
            raise ConfigError(
                f"{type(self).__name__} output_dir must be a local folder, but got the URL {output_dir!r}: give a "
                "local one, and copy the traces after training."
            )
        self._enable_predicate = enable_predicate
        self._output_dir = Path(output_dir)
        self._activities = activities
        self._save_tensorboard = save_tensorboard
        self._profiler: Any = None

    def _new_profiler(self) -> Any:
        ready = None
        if self._save_tensorboard:
            folder = self._output_dir / "log" / f"profiler-tensorboard-iter{self.trainer.iter}"
            ready = torch.profiler.tensorboard_trace_handler(str(folder), f"worker{get_rank()}")
        return torch.profiler.profile(
            activities=self._activities,
            on_trace_ready=ready,
            record_shapes=True,
            profile_memory=True,
            with_stack=True,
            with_flops=True,
        )

    def before_step(self) -> None:
        """Begin to record, where this iteration is to be."""
        if self._enable_predicate(self.trainer):
            self._profiler = self._new_profiler()
            self._profiler.__enter__()

    def after_step(self) -> None:
        """End the recording, and write it."""
        if self._profiler is None:
            return
        profiler = self._stopped()
        if not self._save_tensorboard:
            self._output_dir.mkdir(parents=True, exist_ok=True)
            profiler.export_chrome_trace(str(self._output_dir / f"profiler-trace-iter{self.trainer.iter}.json"))

    def after_train(self) -> None:
        """End the recording of an iteration that failed: it would go on for the whole process."""
        if self._profiler is not None:
            self._stopped()

    def _stopped(self) -> Any:
        profiler, self._profiler = self._profiler, None
        profiler.__exit__(None, None, None)
        return profiler


class AutogradProfiler(TorchProfiler):
    """TorchProfiler with torch.autograd's profiler, which it replaces; traces are for Chrome's ``about:tracing``."""

    def __init__(self, enable_predicate: Callable[[Any], bool], output_dir: str, *, use_cuda: bool = True) -> None:
        warnings.warn("AutogradProfiler is an older TorchProfiler: use that.", FutureWarning, stacklevel=2)
        super().__init__(enable_predicate, output_dir, save_tensorboard=False)
        self._use_cuda = use_cuda

    def _new_profiler(self) -> Any:
        device = "cuda" if self._use_cuda and torch.cuda.is_available() else None
        return torch.autograd.profiler.profile(use_device=device)


class TorchMemoryStats(HookBase):
    """Logs the memory of the CUDA device every ``period`` iterations, ``max_runs`` times, the last time in full."""

    logger_name: ClassVar[str] = "trainwright.trainer"

    def __init__(self, period: int = 20, max_runs: int = 10) -> None:
        if period < 1:
            raise ConfigError(f"TorchMemoryStats period must be at least 1 iteration, but got {period!r}.")
        self._logger = logging.getLogger(self.logger_name)
        self._period = period
        self._max_runs = max_runs
        self._runs = 0

    def after_step(self) -> None:
        """Log, when it is time."""
        if self._runs >= self._max_runs:
            return
        done = self.trainer.iter + 1
        if (done % self._period and done != self.trainer.max_iter) or not torch.cuda.is_available():
            return
        amounts = {
            "max_reserved_mem": torch.cuda.max_memory_reserved(),
            "reserved_mem": torch.cuda.memory_reserved(),
            "max_allocated_mem": torch.cuda.max_memory_allocated(),
            "allocated_mem": torch.cuda.memory_allocated(),
        }
        text = "  ".join(f"{name}: {n_bytes / _MIB:.0f}MB" for name, n_bytes in amounts.items())
        self._logger.info(f" iter: {self.trainer.iter}  {text}")
        self._runs += 1
        if self._runs == self._max_runs:
            self._logger.info(f"\n{torch.cuda.memory_summary()}")
        torch.cuda.reset_peak_memory_stats()

    def state_dict(self) -> dict[str, Any]:
        """How often it has logged."""
        return {"runs": self._runs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._runs = int(state_dict["runs"])
