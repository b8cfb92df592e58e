"""What periodic hooks share: checked numbers, and the iterations at which the log line is written."""

from __future__ import annotations

from typing import Any

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.state import Clock


def whole_number(hook: object, name: str, value: Any, least: int = 1) -> int:
    """``value`` as it is; an error that names hook and argument when it is no whole number from ``least`` on."""
    kind = type(hook).__name__
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigTypeError(f"{kind} {name} must be a whole number, but got {value!r}.")
    if value < least:
        raise ConfigError(f"{kind} {name} must be at least {least}, but got {value}.")
    return value


def log_interval(runner: Any, own: int | None) -> int:
    """``own``, else the interval of the run's LoggerHook, else 10, which is that hook's default."""
    if own is not None:
        return own
    from trainwright.hooks.logger_hook import LoggerHook  # which itself asks here for its next line

    found = (hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook))
    return next(found, 10)


def is_log_iter(clock: Clock, batch_idx: int, interval: int) -> bool:
    """Whether a line may be written after the running iteration: an ``interval``-th of its epoch, or the last."""
    done = batch_idx + 1
    return done % interval == 0 or done == clock.epoch_length


def next_log_iter(clock: Clock, interval: int) -> int:
    """The next iteration, not before the running one, at which ``is_log_iter`` holds."""
    ahead = interval - 1 - clock.inner_iter % interval
    if clock.epoch_length is not None:
        ahead = min(ahead, max(clock.epoch_length - 1 - clock.inner_iter, 0))
    return clock.iter + ahead
