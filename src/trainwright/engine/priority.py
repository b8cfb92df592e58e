"""Hook priorities: names for numbers between 0 and 100, a lower one is called earlier."""

from __future__ import annotations

import enum

from trainwright.base.errors import HookError, PriorityNameError
from trainwright.base.text import did_you_mean


class Priority(enum.IntEnum):
    """The nine named priorities (values of MMCV and MMEngine)."""

    HIGHEST = 0
    VERY_HIGH = 10
    HIGH = 30
    ABOVE_NORMAL = 40
    NORMAL = 50
    BELOW_NORMAL = 60
    LOW = 70
    VERY_LOW = 90
    LOWEST = 100


def get_priority(priority: int | str | Priority) -> int:
    """The number of a priority given as number, name or member; HookError (a ValueError) for any other."""
    if isinstance(priority, str):
        name = priority.upper()
        if name not in Priority.__members__:
            names = list(Priority.__members__)
            raise PriorityNameError(
                f"priority {priority!r} is unknown: use a number from 0 to 100 or one of {', '.join(names)}."
                f"{did_you_mean(name, names)}"
            )
        return Priority[name].value
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise TypeError(f"priority must be an integer or Priority enum value, or its name, not {priority!r}.")
    if not 0 <= priority <= 100:
        raise HookError(f"priority must be between 0 and 100, the earliest and the latest, not {priority}.")
    return int(priority)


def priority_name(priority: int | str | Priority) -> str:
    """The name of a priority, or its number when it has none."""
    number = get_priority(priority)
    return Priority(number).name if number in Priority.__members__.values() else str(number)
