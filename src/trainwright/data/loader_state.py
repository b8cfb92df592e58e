"""What a loader's state says of the streams of its workers, and what becomes of it where ranks or workers changed."""

from __future__ import annotations

import logging
from typing import Any

from trainwright.base.errors import CheckpointError
from trainwright.base.logs import print_log
from trainwright.data.stream_reading import StreamPlace, StreamStart
from trainwright.dist import data_info

KNOB = "resume_cfg=dict(allow_inexact=True)"


def of_this_rank(state: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
    """The state for this rank, and how many ranks have saved one each (None: one state stands for all).

    Of samples that were left out, a rank knows its own; where the number of ranks changed, each gets to know all.
    """
    states = state.get("by_rank")
    if states is None:
        return state, None
    rank, world_size = data_info()
    if len(states) == world_size:
        return states[rank], world_size
    skipped = [index for one in states for index in one.get("skipped_samples", ())]
    return {**states[0], "skipped_samples": list(dict.fromkeys(skipped))}, len(states)


class StreamProgress:
    """Where the streams of a loader's workers stand, as far as their batches were handed out."""

    def __init__(self, loader: Any) -> None:
        self._n = max(1, loader.num_workers)
        self._name = type(loader.dataset).__name__
        self._clear()

    def _clear(self) -> None:
        self._places: list[dict[str, Any] | None] = [None] * self._n
        self._next = 0
        self._changed = ""
        self._start: StreamStart | None = None

    def advance(self, place: StreamPlace) -> None:
        """A batch of this worker was handed out."""
        self._places[place.worker] = place._asdict()
        self._next = (place.worker + 1) % self._n

    def begin(self, n_batches: int, allow_inexact: bool) -> int:
        """Begin a pass behind `n_batches` of it; returns how many of them have to be read again and dropped."""
        changed, places, turn = self._changed, self._places, self._next
        self._clear()
        if n_batches == 0:
            return 0
        if changed and not allow_inexact:
            raise CheckpointError(
                f"{changed}: the batches of {self._name}, an IterableDataset, come from a stream of each worker, and "
                f"the place in them belongs to their number. Go back to it, or set {KNOB} to read the first "
                f"{n_batches} batches of the new streams and drop them: samples will then come twice or never"
            )
        if changed:
            text = f"{changed}: {n_batches} batches of {self._name} are read and dropped; the order is another one"
            print_log(text, "current", logging.WARNING)
        if changed or not any(places):
            return n_batches
        self._places, self._next = places, turn
        self._start = StreamStart(places, turn)
        return 0

    def take_start(self) -> StreamStart | None:
        """Where the pass that is begun starts; None: at the beginning."""
        start, self._start = self._start, None
        return start

    def state_dict(self) -> dict[str, Any]:
        """Plain data, and what the dataset's own state holds."""
        return {"next_worker": self._next, "places": [place and dict(place) for place in self._places]}

    def load_state_dict(self, state: dict[str, Any] | None, ranks_before: int | None) -> None:
        """Be there at the next ``begin``, or know why not; without a state the batches are read again."""
        self._clear()
        if state is None:
            return
        world_size = data_info()[1]
        before = len(state["places"])
        if ranks_before not in (None, world_size):
            self._changed = f"the checkpoint is of {ranks_before} ranks and this run has {world_size}"
        elif before != self._n:
            self._changed = f"the checkpoint was saved with num_workers={before} and num_workers is {self._n} now"
        self._places = list(state["places"]) if not self._changed else self._places
        self._next = state["next_worker"] if not self._changed else 0
