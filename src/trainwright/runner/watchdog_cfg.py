"""Settings of the watchdog: plain data, without an import of torch's distributed parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.text import did_you_mean

ACTIONS = ("abort", "report", "off")


@dataclass(frozen=True)
class WatchdogCfg:
    """``env_cfg=dict(watchdog=dict(...))``: when a run of several processes counts as hanging, and what is done then.

    `timeout_s`: for so long no iteration, of training or of an evaluation, has ended. `first_timeout_s`: the same
    before the first one of a ``train()``, ``val()`` or ``test()`` has ended, which may compile. What takes longer in
    good health, as a large save does, or a metric that one rank computes alone, needs a larger number. `action`:
    'abort' writes a report and ends the process with exit code 70, 'report' writes it and goes on, 'off' does not look.
    """

    timeout_s: float = 600.0
    first_timeout_s: float = 1800.0
    action: str = "abort"

    @classmethod
    def from_cfg(cls, cfg: dict[str, Any] | None) -> WatchdogCfg:
        """The settings of a config; ConfigError where one is wrong."""
        known = cls.__dataclass_fields__
        for name in cfg or {}:
            if name not in known:
                hint = did_you_mean(str(name), known)
                raise ConfigError(f"watchdog has no setting {name!r}; it takes {', '.join(known)}.{hint}")
        made = cls(**(cfg or {}))
        for name in ("timeout_s", "first_timeout_s"):
            value = getattr(made, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ConfigTypeError(f"watchdog {name} must be a number of seconds, but got {value!r}.")
            if not value > 0:
                raise ConfigError(f"watchdog {name} must be above 0 seconds, but got {value!r}.")
        if made.action not in ACTIONS:
            hint = did_you_mean(str(made.action), ACTIONS)
            raise ConfigError(f"watchdog action={made.action!r} is none of {', '.join(ACTIONS)}.{hint}")
        return made
