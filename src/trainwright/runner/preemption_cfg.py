"""The settings of ``env_cfg['preemption']``."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Any

from trainwright.base.errors import ConfigError
from trainwright.base.text import did_you_mean

_NO_STOP = ("SIGINT", "SIGKILL", "SIGSTOP", "SIGCHLD", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT")


@dataclass(frozen=True)
class PreemptionCfg:
    """``env_cfg=dict(preemption=dict(...))``.

    Args:
        signals: Signals that stop training. An empty list: none is listened for.
        deadline_s: Seconds from the first signal to the end of the process, come what may; None waits until all is
            saved. Best a little less than the time until SIGKILL.
        exit_code: Of a run that is to be started again.
        requeue: Have SLURM start the job again (``scontrol requeue``).
        end_margin_s: So long before the end of a SLURM job training stops by itself; 0: it does not.
    """

    signals: list[str] | tuple[str, ...] = ("SIGTERM", "SIGUSR1")
    deadline_s: float | None = None
    exit_code: int = 75
    requeue: bool = False
    end_margin_s: float = 120.0

    @classmethod
    def from_cfg(cls, cfg: dict[str, Any] | None) -> PreemptionCfg:
        """The settings of a config; ConfigError where one is wrong."""
        known = cls.__dataclass_fields__
        for name in cfg or {}:
            if name not in known:
                hint = did_you_mean(str(name), known)
                raise ConfigError(f"preemption has no setting {name!r}; it takes {', '.join(known)}.{hint}")
        made = cls(**(cfg or {}))
        names = [item.name for item in signal.Signals if item.name not in _NO_STOP]
        for name in made.signals:
            if name not in names:
                hint = did_you_mean(str(name), names)
                raise ConfigError(f"preemption signals={made.signals!r}: {name!r} is no signal to stop at.{hint}")
        if made.deadline_s is not None and not made.deadline_s > 0:
            raise ConfigError(f"preemption deadline_s must be above 0, or None for no deadline: {made.deadline_s!r}.")
        if not 0 < made.exit_code < 256:
            raise ConfigError(f"preemption exit_code must be from 1 to 255, but got {made.exit_code!r}.")
        if not made.end_margin_s >= 0:
            raise ConfigError(f"preemption end_margin_s must be at least 0, but got {made.end_margin_s!r}.")
        return made
