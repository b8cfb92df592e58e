"""Logs how much is trained in a second, and how well that uses the device."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from trainwright.base.errors import ConfigError
from trainwright.dist import data_info
from trainwright.engine import Hook
from trainwright.engine.loops.share import size_of_batch
from trainwright.engine.loops.tokens import check_tokens, tokens_in
from trainwright.hooks.intervals import is_log_iter, log_interval, next_log_iter, whole_number
from trainwright.hooks.peak_flops import peak_flops_of
from trainwright.registry import HOOKS


@HOOKS.register_extra
class ThroughputHook(Hook):
    """Logs ``samples_per_s`` of all ranks, and of each window between two log lines (`interval` iterations; None: that
    of LoggerHook) at its end. Time in validation, between epochs, and the first iteration do not count.

    `tokens`: how to count those of a batch: a key of it (dotted into nested dicts) whose tensor has one element a
    token, or a function of the batch that gives a number or a tensor of one element; then ``tokens_per_s``, and
    ``tokens`` so far, which go on after a resume.

    `flops`: 'auto' counts those of the first step, forward and backward (what activation checkpointing computes again
    counts too); a number is those of one token where tokens are counted, else of one sample; None logs none. From it
    come ``tflops_per_s`` of each device and ``mfu``, model FLOP utilisation, the share of `peak_flops`; that is taken
    from a table by the device's name and the precision where it is None. Nothing is read from the device.
    """

    priority = "NORMAL"

    def __init__(
        self,
        interval: int | None = None,
        tokens: str | Callable[[Any], Any] | None = None,
        flops: str | float | None = "auto",
        peak_flops: float | None = None,
    ) -> None:
        self.interval = None if interval is None else whole_number(self, "interval", interval)
        if tokens is not None:
            check_tokens(tokens, "ThroughputHook")
        if isinstance(flops, str) and flops != "auto":
            raise ConfigError(f"ThroughputHook flops must be 'auto', a number or None, but got {flops!r}.")
        for name, value in (("flops", flops), ("peak_flops", peak_flops)):
            if isinstance(value, (int, float)) and not value > 0:
                raise ConfigError(f"ThroughputHook {name} must be above 0, but got {value!r}.")
        self.tokens = tokens
        self.flops_per_unit: Any = None if isinstance(flops, str) else flops
        self.peak_flops = peak_flops
        self.n_samples = 0
        self.n_tokens: int | Tensor = 0
        self._measures = flops == "auto"
        self._counter: Any = None
        self._is_warm = False
        self._interval = 10
        self._batch_size = 0
        self._window: tuple[int, int | Tensor] = (0, 0)  # samples and tokens at its beginning
        self._window_s = 0.0
        self._since: float | None = None  # None while nothing is timed

    def before_train(self, runner: Any) -> None:
        """Settle interval and peak; nothing is timed before the first iteration is over."""
        self._interval = log_interval(runner, self.interval)
        self._is_warm = False
        self._pause()
        self._batch_size = int(getattr(runner.train_dataloader, "batch_size", None) or 0)
        if self.peak_flops is None and runner.strategy.device.type == "cuda":
            name = torch.cuda.get_device_name(runner.strategy.device)
            self.peak_flops = peak_flops_of(name, _dtype_of(runner))
            if self.peak_flops is None and (self._measures or self.flops_per_unit is not None):
                runner.logger.warning("ThroughputHook does not know the peak of %s: mfu needs peak_flops=...", name)

    def rewound(self, runner: Any) -> None:
        """Begin anew, as a resume does; samples and tokens were counted back."""
        self._leave_counter()
        self._is_warm = False
        self._pause()

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Count what is in the batch, before anybody changes it; in the first iteration begin to count operations."""
        if not self._is_warm:
            self._window = (self.n_samples, self.n_tokens)
        size = size_of_batch(data_batch)
        self.n_samples += self._batch_size if size is None else size
        if self.tokens is not None:
            self.n_tokens = self.n_tokens + tokens_in(data_batch, self.tokens, "ThroughputHook")
        if not self._is_warm and self._measures and self.flops_per_unit is None:
            from torch.utils.flop_counter import FlopCounterMode

            self._counter = FlopCounterMode(display=False)
            self._counter.__enter__()

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """End a window when a line may follow."""
        if not self._is_warm:
            self._end_first_step(runner, is_left_out=outputs is None)
        elif is_log_iter(runner.ctx.clock, batch_idx, self._interval):
            self._end_window(runner)

    def next_train_iter(self, runner: Any) -> int | None:
        """The first iteration, then log times."""
        return next_log_iter(runner.ctx.clock, self._interval) if self._is_warm else runner.iter

    def after_train_epoch(self, runner: Any) -> None:
        """Saving and validation are no training."""
        self._pause()

    def before_train_epoch(self, runner: Any) -> None:
        """Go on."""
        self._go_on()

    def before_val(self, runner: Any) -> None:
        """Validation is no training."""
        self._pause()

    def after_val(self, runner: Any) -> None:
        """Go on with training, where there is one."""
        if runner.is_training:
            self._go_on()

    def on_train_closed(self, runner: Any) -> None:
        """Of a first step that failed nothing is left."""
        self._leave_counter()

    def _end_first_step(self, runner: Any, is_left_out: bool) -> None:
        counter = self._leave_counter()
        if counter is not None:
            n_units = self._since_window()[self.tokens is not None]
            n_flops = counter.get_total_flops()
            if is_left_out and not n_flops:
                return  # by a guard: the next step is the first
            if n_flops and (isinstance(n_units, Tensor) or n_units):
                self.flops_per_unit = n_flops / n_units
            runner.logger.info("the first step took %.4g floating-point operations", n_flops)
        self._is_warm = True
        self._begin_window()

    def _leave_counter(self) -> Any:
        counter, self._counter = self._counter, None
        if counter is not None:
            counter.__exit__(None, None, None)
        return counter

    def _since_window(self) -> tuple[int, Any]:
        return self.n_samples - self._window[0], self.n_tokens - self._window[1]

    def _begin_window(self) -> None:
        self._window, self._window_s, self._since = (self.n_samples, self.n_tokens), 0.0, perf_counter()

    def _end_window(self, runner: Any) -> None:
        self._pause()
        n_samples, n_tokens = self._since_window()
        n_ranks, seconds = data_info()[1], max(self._window_s, 1e-9)
        values: dict[str, Any] = {}
        if n_samples:
            values["samples_per_s"] = n_samples * n_ranks / seconds
        if self.tokens is not None:
            values["tokens_per_s"] = n_tokens * n_ranks / seconds
            values["tokens"] = self.n_tokens * n_ranks
        if self.flops_per_unit is not None:
            rate = self.flops_per_unit * (n_samples if self.tokens is None else n_tokens) / seconds
            rate = rate / (runner.world_size // n_ranks)  # those of a tensor group share the work on the same samples
            values["tflops_per_s"] = rate / 1e12
            if self.peak_flops is not None:
                values["mfu"] = rate / self.peak_flops
        if values:
            runner.ctx.metrics.put("train", values)
        self._begin_window()

    def _pause(self) -> None:
        if self._since is not None:
            self._window_s += perf_counter() - self._since
            self._since = None

    def _go_on(self) -> None:
        if self._is_warm and self._since is None:
            self._since = perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """Samples and tokens so far, and the operations of one; reads the device where tokens are counted there."""
        flops = self.flops_per_unit if self._measures else None
        return {
            "n_samples": self.n_samples,
            "n_tokens": int(self.n_tokens),
            "flops_per_unit": None if flops is None else float(flops),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting; operations that were counted are not counted again."""
        self.n_samples, self.n_tokens = int(state["n_samples"]), int(state["n_tokens"])
        if self._measures:
            self.flops_per_unit = state["flops_per_unit"]


def _dtype_of(runner: Any) -> torch.dtype:
    """The type in which matrices are multiplied."""
    wrapper = next(iter(runner.strategy._wrappers()))
    cast: Any = getattr(wrapper, "cast_dtype", torch.float32)  # of autocast; None is the device's default
    dtype: torch.dtype = torch.get_autocast_dtype(runner.strategy.device.type) if cast is None else cast
    return dtype if hasattr(wrapper, "cast_dtype") else next(runner.strategy.unwrapped_model.parameters()).dtype
