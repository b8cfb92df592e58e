"""When a validation is due: a pure function of the counter."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field

from trainwright.base.errors import ConfigError


@dataclass
class ValSchedule:
    """Validation after every ``interval`` units (epochs or iterations) from unit ``begin`` on, and after the last.

    ``dynamic`` is a list of (milestone, interval): from that unit on the interval is another one. ``interval_at`` and
    ``due`` answer for a number of finished units, as MMEngine's loops do with the same settings.
    """

    begin: int
    interval: int
    dynamic: Sequence[tuple[int, int]] | None = None
    milestones: list[int] = field(init=False)
    intervals: list[int] = field(init=False)

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise ConfigError(
                f"val_interval must be at least 1, but got {self.interval}. Set train_cfg=dict(val_interval=...); to "
                "train without validation leave out val_dataloader, val_cfg and val_evaluator."
            )
        steps = sorted(self.dynamic or [])
        self.milestones = [0, *(milestone for milestone, _ in steps)]
        self.intervals = [self.interval, *(interval for _, interval in steps)]
        if any(interval < 1 for interval in self.intervals):
            raise ConfigError(f"dynamic_intervals {list(steps)} must hold (milestone, interval) with intervals >= 1.")

    def interval_at(self, done: int) -> int:
        """The interval in force when ``done`` units are finished."""
        return self.intervals[bisect(self.milestones, done + 1) - 1]

    def due(self, done: int, last: int | None) -> bool:
        """Whether validation follows when ``done`` units are finished and ``last`` is their planned number."""
        return done >= self.begin and (done % self.interval_at(done) == 0 or done == last)

    def units_to_next(self, done: int, last: int) -> int:
        """How many more units until validation is due or ``last`` is reached, whichever comes first (at least 1)."""
        ends = [milestone - 1 for milestone in self.milestones[1:]] + [last]
        start = done + 1
        for end, interval in zip(ends, self.intervals, strict=True):
            # In this stretch (start .. end - 1, the last one up to `last`) one interval is in force.
            first = max(start, self.begin)
            candidate = -(-first // interval) * interval
            stop = last if end == last else min(end, last + 1) - 1
            if start <= stop and candidate <= stop:
                return candidate - done
            start = max(start, end)
        return last - done

    def n_due(self, done: int, last: int) -> int:
        """How many of the units behind ``done``, up to ``last``, are followed by a validation."""
        low, n_due = max(done + 1, self.begin), 0
        if last < low:
            return 0
        firsts_of_next = [*(milestone - 1 for milestone in self.milestones[1:]), last + 1]
        for first_of_next, interval in zip(firsts_of_next, self.intervals, strict=True):
            high = min(first_of_next - 1, last)
            if high >= low:
                n_due += high // interval - (low - 1) // interval
                low = high + 1
        return n_due + (last % self.interval_at(last) != 0)
