"""Priorities of hooks: a lower one is called earlier."""

from __future__ import annotations

import enum

from trainwright.base.text import did_you_mean
from trainwright.compat.mmcv1.errors import LackingError
from trainwright.engine import Priority as OurPriority


# No IntEnum as ours is: get_priority() gives numbers, and MMCV's members are no numbers.
class Priority(enum.Enum):
    """The nine named priorities."""

    HIGHEST = OurPriority.HIGHEST.value
    VERY_HIGH = OurPriority.VERY_HIGH.value
    HIGH = OurPriority.HIGH.value
    ABOVE_NORMAL = OurPriority.ABOVE_NORMAL.value
    NORMAL = OurPriority.NORMAL.value
    BELOW_NORMAL = OurPriority.BELOW_NORMAL.value
    LOW = OurPriority.LOW.value
    VERY_LOW = OurPriority.VERY_LOW.value
    LOWEST = OurPriority.LOWEST.value


def get_priority(priority: int | str | Priority) -> int:
    """The number of a priority given as number from 0 to 100, name, or member."""
    if isinstance(priority, (Priority, OurPriority)):
        return int(priority.value)
    if isinstance(priority, int):
        if not 0 <= priority <= 100:
            raise ValueError(f"priority must be between 0 and 100, of which 0 is the earliest, but got {priority}")
        return priority
    if isinstance(priority, str):
        names = list(Priority.__members__)
        if priority.upper() not in names:
            near = did_you_mean(priority.upper(), names)
            raise LackingError(f"priority {priority!r} is unknown: use one of {', '.join(names)}.{near}")
        return int(Priority[priority.upper()].value)
    raise TypeError(f"priority must be an integer, a name or a Priority, but got {priority!r} of {type(priority)}")
