"""The batches of a trainer: pass after pass over its loader, from a place that can be saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from trainwright.base.errors import ConfigError, DataError
from trainwright.base.text import did_you_mean
from trainwright.engine.loops.base import ends_by_itself, length_or_none
from trainwright.engine.passes import PassReader
from trainwright.engine.rewind import order_makers
from trainwright.state import Stateful

RESUME_DATA = ("exact", "order", "anew")


class EndlessBatches:
    """``next()`` gives batch after batch; where a pass over ``loader`` ends the next one begins.

    From the second pass on, loader and samplers that have ``set_epoch`` are told its number.

    :meth:`state_dict` is the place behind the batches that were handed out. A loader with a state of its own goes on
    from that. With another one the random streams with which that pass began are put in place, and the batches before
    are read again and dropped: shuffling and workers then do what they did. So it is with ``resume_data='exact'``;
    'order' takes the next samples in their order without reading those before, so that what samples draw while they are
    read is not what it would have been; 'anew' begins a new pass.
    """

    def __init__(self, loader: Any, resume_data: str = "exact") -> None:
        self.loader = loader
        self.resume_data = checked_resume(resume_data)
        self._batches: Iterator[Any] | None = None
        advice = "; resume_data='order' reads nothing twice, and is not exact where samples draw random numbers"
        self._reader = PassReader(loader, self.resume_data == "order", advice)
        self._epoch = _epoch_of(loader)  # number of the pass under way, or to come
        self._n_used = 0  # batches of it
        self._place: dict[str, Any] | None = None
        self._is_place_valid: Callable[[], bool] = lambda: True

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            batch = next(self._first_pass() if self._batches is None else self._batches)
        except StopIteration:
            batch = self._first_of_next_pass()
        self._n_used += 1
        return batch

    def _first_pass(self) -> Iterator[Any]:
        place, self._place = self._place, None
        if place is None or self.resume_data == "anew" or not self._is_place_valid():
            return self._begin()
        self._epoch, self._n_used = place["epoch"], place.get("n_used", 0)
        _set_epoch(self.loader, self._epoch)
        self._reader.load_state_dict(place)
        self._batches = self._reader.enter(self._epoch)
        return self._batches

    def _begin(self) -> Iterator[Any]:
        self._batches = self._reader.enter()
        return self._batches

    def _first_of_next_pass(self) -> Any:
        n_used, self._n_used = self._n_used, 0
        self._batches = None  # workers that are done end before others begin
        self._epoch += 1
        _set_epoch(self.loader, self._epoch)
        try:
            return next(self._begin())
        except StopIteration:
            pass
        name = type(self.loader).__name__
        once = f" It is an iterator, which can be read only once, and gave {n_used} batches." if n_used else ""
        raise DataError(
            f"the data_loader, a {name}, has no batch to begin a pass with.{once} Give a loader that can be iterated "
            "over again, or one that does not end; a dataset must have a batch at least (drop_last)."
        )

    # the place ----------------------------------------------------------------------------------------------------

    def state_dict(self, gives_back: bool = False) -> dict[str, Any]:
        """The place, as tensors and plain data. With ``gives_back`` the last batch counts as not used: its iteration
        was not finished."""
        if self._place is not None:
            return self._place
        if isinstance(self.loader, Stateful):
            return {"epoch": self._epoch, "n_used": self._n_used, **self._reader.state_dict(self._n_used)}
        n_used = self._n_used - gives_back
        length = length_or_none(self.loader)
        if self._batches is None:
            return {"epoch": self._epoch, **self._reader.state_dict(None)}
        if length is not None and n_used >= length and ends_by_itself(self.loader):
            next(self._batches, None)  # what a sampler draws behind its last index still belongs to this pass
            return {"epoch": self._epoch + 1, **self._reader.state_dict(None)}
        return {"epoch": self._epoch, **self._reader.state_dict(n_used, self._n_used)}

    def load_state_dict(self, state: dict[str, Any], is_valid: Callable[[], bool] = lambda: True) -> None:
        """Go on from there when the first batch is wanted, if it is still ``is_valid()`` then."""
        self._place, self._is_place_valid = state, is_valid


def checked_resume(resume_data: str) -> str:
    """``resume_data`` as it may be."""
    if resume_data not in RESUME_DATA:
        raise ConfigError(
            f"resume_data must be one of {', '.join(RESUME_DATA)}, but got {resume_data!r}."
            f"{did_you_mean(resume_data, RESUME_DATA)}"
        )
    return resume_data


def _samplers(loader: Any) -> list[Any]:
    return [one for one in order_makers(loader) if callable(getattr(one, "set_epoch", None))]


def _set_epoch(loader: Any, epoch: int) -> None:
    for sampler in _samplers(loader):
        sampler.set_epoch(epoch)


def _epoch_of(loader: Any) -> int:
    epochs = [getattr(sampler, "epoch", None) for sampler in _samplers(loader)]
    return next((epoch for epoch in epochs if isinstance(epoch, int)), 0)
