"""Stop as data: who wants the run to end, read by the loops at their boundaries."""

from __future__ import annotations

import enum
from collections.abc import Callable


class StopAt(enum.IntEnum):
    """The boundary at which a requested stop takes effect; the lower one wins when two are asked for."""

    ITERATION = 0
    EPOCH = 1


class StopFlag:
    """Set by hooks, loops and signal handlers; setting it does nothing else, so a handler may."""

    __slots__ = (
        *("_raises", "at", "interrupts", "is_agreed", "may_evaluate", "may_interrupt", "reason", "requeues", "wished"),
        "wished_requeues",
    )

    def __init__(self) -> None:
        self.at: StopAt | None = None
        self.reason: str = ""
        self.interrupts = False
        self.requeues = False  # whether whoever started the run is to start it again
        self._raises = False
        # Ranks may be asked at different moments: somebody brings the wish of one to all of them, and requests then.
        self.is_agreed = False
        self.wished = ""
        self.wished_requeues = False
        # Asked when the batches of an evaluation are used up: False where another rank has given it up meanwhile.
        self.may_evaluate: Callable[[], bool] | None = None
        # Whether the state between two iterations can be saved whole: not while gradients are being accumulated.
        self.may_interrupt: Callable[[], bool] | None = None

    def request(
        self,
        reason: str,
        at: StopAt = StopAt.ITERATION,
        interrupts: bool = False,
        returns: bool = False,
        requeues: bool = False,
    ) -> None:
        """Ask the loop to end at the next boundary of kind ``at``; the reason of the nearest boundary is kept.

        ``interrupts`` says that the run is to be saved where it stands and gone on with later: its epoch stays open.
        With ``returns`` too it ends as after a planned end, without Interrupted, unless somebody else interrupts it.
        With ``requeues`` it ends with Preempted.
        Several ranks must all call this in the same iteration; one alone calls :meth:`wish`.
        """
        # The boundary last: where another thread asks, the loop sees all of the request or nothing of it.
        self.interrupts |= interrupts
        self._raises |= interrupts and not returns
        self.requeues |= requeues
        if self.at is None or at < self.at:
            self.reason, self.at = reason, at

    def wish(self, reason: str, requeues: bool = False) -> None:
        """Ask for a stop that saves, from one rank alone and at any moment, as a signal does: the ranks agree on the
        iteration. In one process this is a request for the next boundary."""
        if self.is_agreed:
            self.wished_requeues |= requeues
            self.wished = reason
        else:
            self.request(reason, interrupts=True, requeues=requeues)

    def clear(self) -> None:
        """Forget the request, for a run that goes on."""
        self.at, self.reason, self.wished = None, "", ""
        self.interrupts = self._raises = self.requeues = self.wished_requeues = False

    @property
    def requested(self) -> bool:
        """Whether the run is to end at the next epoch boundary at the latest."""
        return self.at is not None

    @property
    def returns(self) -> bool:
        """Whether the run is to be saved where it stands, and to return as after a planned end."""
        return self.interrupts and not self._raises

    @property
    def now(self) -> bool:
        """Whether the run is to end at this iteration boundary."""
        return self.ends(StopAt.ITERATION)

    @property
    def between_epochs(self) -> bool:
        """Whether the run is to end at this boundary, which is one of epochs too."""
        return self.ends(StopAt.EPOCH)

    def ends(self, boundary: StopAt) -> bool:
        """Whether the run is to end here, at a boundary of that kind."""
        if self.at is None or self.at > boundary:
            return False
        return not self.interrupts or self.may_interrupt is None or self.may_interrupt()
