"""Records where the time of training goes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import profiler

from trainwright.base.errors import ConfigError, RuleTypeError
from trainwright.dist import is_main_process
from trainwright.engine import NEVER, Hook
from trainwright.engine.by_hand import by_hand, is_run
from trainwright.hooks.profiler_traces import Handler, check_handler, handlers_of, schedule_of
from trainwright.registry import HOOKS


@HOOKS.register_module()
class ProfilerHook(Hook):
    """Runs torch.profiler over the first ``profile_times`` iterations, or with ``by_epoch`` over the first epoch, from
    where training begins or is taken up (API of mmengine's ProfilerHook).

    ``schedule`` holds the arguments of torch.profiler.schedule. ``on_trace_ready`` gets the profiler whenever a trace
    is complete: a function, ``dict(type='log_trace', ...)``, which logs the table of ``key_averages()``, or
    ``dict(type='tb_trace', ...)``, which writes files for TensorBoard under ``log_dir/tf_tracing_logs`` or `dir_name`.
    ``json_trace_path`` is the file for a trace that chrome://tracing and ui.perfetto.dev show; with several traces the
    last one stays. A training that fails or is stopped leaves the trace of what it did.
    """

    priority = "VERY_LOW"
    profiler: profiler.profile

    def __init__(
        self,
        *,
        by_epoch: bool = True,
        profile_times: int = 1,
        activity_with_cpu: bool = True,
        activity_with_cuda: bool = False,
        schedule: dict[str, Any] | None = None,
        on_trace_ready: Callable[..., Any] | dict[str, Any] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_flops: bool = False,
        json_trace_path: str | None = None,
    ) -> None:
        switches = {
            "by_epoch": by_epoch,
            "activity_with_cpu": activity_with_cpu,
            "activity_with_cuda": activity_with_cuda,
        }
        for name, value in switches.items():
            if not isinstance(value, bool):
                raise RuleTypeError(f"ProfilerHook {name} must be True or False, but got {value!r}.")
        _check_times(by_epoch, profile_times)
        if not (activity_with_cpu or activity_with_cuda):
            raise ConfigError("ProfilerHook has neither activity_with_cpu nor activity_with_cuda: nothing is recorded.")
        check_handler(on_trace_ready, json_trace_path)
        self.by_epoch = by_epoch
        self.profile_times = profile_times
        kinds = profiler.ProfilerActivity
        self.activities = [kinds.CPU] * activity_with_cpu + [kinds.CUDA] * activity_with_cuda
        self.schedule = None if schedule is None else schedule_of(schedule)
        self.on_trace_ready = on_trace_ready
        self.record_shapes = record_shapes
        self.profile_memory = profile_memory
        self.with_stack = with_stack
        self.with_flops = with_flops
        self.json_trace_path = json_trace_path
        self._closed = True
        self._export_to: str | None = None  # by itself, and not by a handler
        self._n_profiled = self._n_traces = 0

    def before_train(self, runner: Any) -> None:
        """Start recording."""
        self._begin(runner, self._trace_handler(runner))

    @by_hand
    def before_run(self, runner: Any) -> None:
        """Start recording with ``on_trace_ready`` as it is; the file is written at the end."""
        self._begin(runner, self._parse_trace_config(runner))
        self._export_to = self.json_trace_path

    def _parse_trace_config(self, runner: Any) -> Handler | None:
        """What ``on_trace_ready`` stands for."""
        show = partial(runner.logger.info, "ProfilerHook:\n%s")
        handlers = handlers_of(self.on_trace_ready, None, runner.logger, runner.log_dir, show)
        return handlers[0] if handlers else None

    def _begin(self, runner: Any, on_trace_ready: Handler | None) -> None:
        unit = "max_epochs" if self.by_epoch else "max_iters"
        planned = getattr(runner, unit)
        if planned is not None and planned < self.profile_times:
            raise ConfigError(
                f"ProfilerHook profile_times={self.profile_times} is more than the training has: {unit}={planned}."
            )
        self.profiler = profiler.profile(
            activities=self.activities,
            schedule=self.schedule,
            on_trace_ready=on_trace_ready,
            record_shapes=self.record_shapes,
            profile_memory=self.profile_memory,
            with_stack=self.with_stack,
            with_flops=self.with_flops,
        )
        self._n_profiled = self._n_traces = 0
        self.profiler.__enter__()
        self._closed, self._export_to = False, None
        runner.logger.info("ProfilerHook records: training is slower until it has finished.")

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Count the iteration, and finish after the last one."""
        if self._closed:
            return
        self.profiler.step()
        self._n_profiled += 1
        if not self.by_epoch and self._n_profiled >= self.profile_times:
            self._finish(runner)

    def next_train_iter(self, runner: Any) -> int | None:
        """Every iteration until the recording has ended."""
        return NEVER if self._closed else None

    def after_train_epoch(self, runner: Any) -> None:
        """Finish with the epoch."""
        if self.by_epoch:
            self._finish(runner)

    def on_train_closed(self, runner: Any) -> None:
        """Finish what was stopped or failed: the profiler would go on recording the whole process."""
        self._finish(runner)

    def _finish(self, runner: Any) -> None:
        if self._closed:
            return
        self._closed = True
        self.profiler.__exit__(None, None, None)
        if self._export_to is not None:
            self.profiler.export_chrome_trace(self._export_to)
        elif is_run(runner) and self.schedule is not None and not self._n_traces:
            runner.logger.warning(
                "ProfilerHook recorded nothing: its schedule was still waiting or warming up after %d iterations. "
                "Raise profile_times, or lower wait, warmup and skip_first.",
                self._n_profiled,
            )

    def _trace_handler(self, runner: Any) -> Handler:
        path = self.json_trace_path if is_main_process() else None
        show = partial(runner.logger.info, "ProfilerHook:\n%s")
        handlers = handlers_of(self.on_trace_ready, path, runner.logger, runner.log_dir, show)

        def ready(trace: Any) -> None:
            self._n_traces += 1
            for handler in handlers:
                handler(trace)

        return ready


def _check_times(by_epoch: bool, profile_times: Any) -> None:
    if isinstance(profile_times, bool) or not isinstance(profile_times, int) or profile_times < 1:
        raise ConfigError(f"ProfilerHook profile_times must be a whole number from 1 on, but got {profile_times!r}.")
    if by_epoch and profile_times > 1:
        raise ConfigError(
            f"ProfilerHook profile_times={profile_times} would record {profile_times} epochs: the trace would be too "
            "large to look at. Record one epoch, or with by_epoch=False so many iterations."
        )
