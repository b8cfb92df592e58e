"""Records where the time of training goes."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import profiler

from trainwright.base.errors import ConfigError
from trainwright.compat.mmcv1.errors import demand
from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS, Hook
from trainwright.dist import is_main_process
from trainwright.hooks.profiler_traces import Handler, check_handler, handlers_of, schedule_of

_ACTIVITIES = {"cpu": profiler.ProfilerActivity.CPU, "cuda": profiler.ProfilerActivity.CUDA}


@HOOKS.register_module()
class ProfilerHook(Hook):
    """Runs torch.profiler on rank 0, over the first ``profile_iters`` epochs or with ``by_epoch=False`` iterations.

    ``activities`` are 'cpu' and 'cuda', which counts where there is such a device. ``schedule`` holds the arguments of
    torch.profiler.schedule. ``on_trace_ready`` gets the profiler whenever a trace is complete: a function,
    ``dict(type='log_trace', ...)``, which prints the table of ``key_averages()``, or ``dict(type='tb_trace', ...)``,
    which writes files for TensorBoard under `dir_name` in the work folder, by default ``tf_tracing_logs``.
    ``json_trace_path`` is the file for a trace that chrome://tracing and ui.perfetto.dev show.
    """

    profiler: profiler.profile

    def __init__(
        self,
        by_epoch: bool = True,
        profile_iters: int = 1,
        activities: list[str] = ["cpu", "cuda"],  # noqa: B006 - never changed
        schedule: dict[str, Any] | None = None,
        on_trace_ready: Callable[..., Any] | dict[str, Any] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_flops: bool = False,
        json_trace_path: str | None = None,
    ) -> None:
        demand(isinstance(by_epoch, bool), f"ProfilerHook by_epoch should be a boolean, got {by_epoch!r}")
        if profile_iters < 1:
            raise ConfigError(f"ProfilerHook profile_iters should be greater than 0, got {profile_iters!r}")
        self.by_epoch = by_epoch
        self.profile_iters = profile_iters
        self.activities = _activities(activities)
        self.schedule = None if schedule is None else schedule_of(schedule)
        self.on_trace_ready = on_trace_ready
        self.record_shapes = record_shapes
        self.profile_memory = profile_memory
        self.with_stack = with_stack
        self.with_flops = with_flops
        self.json_trace_path = json_trace_path
        self._is_open = False

    def before_run(self, runner: Any) -> None:
        """Start recording."""
        unit = "max_epochs" if self.by_epoch else "max_iters"
        planned = getattr(runner, unit)
        if planned is not None and planned < self.profile_iters:
            raise ConfigError(
                f"ProfilerHook profile_iters should not be greater than the runner's {unit}, got {self.profile_iters} "
                f"and {planned}"
            )
        check_handler(self.on_trace_ready, self.json_trace_path)
        if not is_main_process():
            return
        if self.by_epoch and (planned or 0) > 1:
            warnings.warn(
                f"ProfilerHook records {self.profile_iters} of {planned} epochs. That slows training down and makes a "
                "large trace: by_epoch=False records iterations.",
                stacklevel=2,
            )
        supported = profiler.supported_activities()
        self.profiler = profiler.profile(
            activities=[activity for activity in self.activities if activity in supported],
            schedule=self.schedule,
            on_trace_ready=self._trace_handler(runner),
            record_shapes=self.record_shapes,
            profile_memory=self.profile_memory,
            with_stack=self.with_stack,
            with_flops=self.with_flops,
        )
        self.profiler.__enter__()
        self._is_open = True
        runner.logger.info("ProfilerHook records: training is slower until it has finished.")

    def _trace_handler(self, runner: Any) -> Handler | None:
        folder = runner.work_dir or ""
        handlers = handlers_of(self.on_trace_ready, self.json_trace_path, runner.logger, folder, _show)
        return partial(_hand_over, handlers) if handlers else None

    def after_train_iter(self, runner: Any) -> None:
        """Count the iteration, and finish after the last one."""
        if self._is_open:
            self.profiler.step()
            if not self.by_epoch and runner.iter >= self.profile_iters - 1:
                self._finish()

    def after_train_epoch(self, runner: Any) -> None:
        """Finish after the last epoch."""
        if self.by_epoch and runner.epoch >= self.profile_iters - 1:
            self._finish()

    def after_run(self, runner: Any) -> None:
        """Finish what ended sooner."""
        self._finish()

    def _finish(self) -> None:
        if self._is_open:
            self._is_open = False
            self.profiler.__exit__(None, None, None)


def _activities(names: Any) -> list[profiler.ProfilerActivity]:
    if not isinstance(names, list):
        raise ConfigError(f"ProfilerHook activities should be a list, got {names!r}")
    unknown = [name for name in names if name.lower() not in _ACTIVITIES]
    if unknown:
        raise ConfigError(f'ProfilerHook activity should be "cpu" or "cuda", got {unknown[0]!r}')
    return [_ACTIVITIES[name.lower()] for name in names]


def _hand_over(handlers: list[Handler], trace: Any) -> None:
    for handler in handlers:
        handler(trace)


def _show(table: str) -> None:
    sys.stdout.write(f"{table}\n")  # asked for, and printed by MMCV
