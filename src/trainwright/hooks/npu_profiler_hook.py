"""Records where the time of training goes on Ascend NPUs."""

from __future__ import annotations

import os
import sys
from typing import Any

from trainwright.base.errors import ConfigError
from trainwright.base.optional import require
from trainwright.dist import is_main_process
from trainwright.engine import Hook
from trainwright.registry import HOOKS

_INSTALL = "pip install torch-npu, in the version for this torch (https://gitee.com/ascend/pytorch)"


@HOOKS.register_module()
class NPUProfilerHook(Hook):
    """Runs torch_npu's profiler on the main process from iteration `begin` until before `end` (API of mmengine's
    NPUProfilerHook).

    Its files go to the folder `result_path`. With `exit_after_profiling` the program ends after the last of these
    iterations, with status 0. `use_e2e_profiler` also records torch's side; `ge_profiling_to_std_out` has the graph
    engine print the times of its scheduling.
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        *,
        begin: int = 0,
        end: int = 1,
        result_path: str = "cann_profiling",
        exit_after_profiling: bool = True,
        use_e2e_profiler: bool = False,
        ge_profiling_to_std_out: bool = False,
    ) -> None:
        self._npu: Any = require("torch_npu", None, "NPUProfilerHook", _INSTALL)
        if begin >= end:
            raise ConfigError(
                f"NPUProfilerHook begin={begin} must be below end={end}: it records the iterations from begin until "
                "before end, counted from 0."
            )
        self.begin = begin
        self.end = end
        self.result_path = result_path
        self.exit_after_profiling = exit_after_profiling
        self.use_e2e_profiler = use_e2e_profiler
        if ge_profiling_to_std_out:
            os.environ["GE_PROFILING_TO_STD_OUT"] = "1"
        self.profiler: Any = None  # while it records

    def before_train(self, runner: Any) -> None:
        """ConfigError when training ends earlier."""
        if runner.max_iters is not None and self.end > runner.max_iters:
            raise ConfigError(
                f"NPUProfilerHook end={self.end} is more than the training has: max_iters={runner.max_iters}."
            )

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Start recording, also in a training that is taken up between `begin` and `end`."""
        if self.profiler is None and self.begin <= runner.iter < self.end and is_main_process():
            os.makedirs(self.result_path, exist_ok=True)
            self.profiler = self._npu.npu.profile(self.result_path, use_e2e_profiler=self.use_e2e_profiler)
            self.profiler.__enter__()
            runner.logger.info("NPUProfilerHook records: training is slower until iteration %d.", self.end)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Finish after the last iteration."""
        if self.profiler is not None and runner.iter >= self.end - 1:
            self._finish(runner)
            if self.exit_after_profiling:
                sys.exit()

    def on_train_closed(self, runner: Any) -> None:
        """Finish what was stopped or failed."""
        self._finish(runner)

    def _finish(self, runner: Any) -> None:
        if self.profiler is not None:
            runner.logger.info("NPUProfilerHook writes to %s; that may take minutes.", self.result_path)
            running, self.profiler = self.profiler, None
            running.__exit__(None, None, None)
