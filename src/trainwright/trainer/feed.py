"""The batches of a trainer: pass after pass over its loader, from a place that can be saved."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from trainwright.base.errors import ConfigError, DataError
from trainwright.base.text import did_you_mean
from trainwright.engine.loops.base import ends_by_itself, length_or_none
from trainwright.engine.rewind import Pass, begin_pass, put_states, states_of
from trainwright.state import Stateful, rng

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
        self._pass: Pass | None = None
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
        self._epoch = place["epoch"]
        _set_epoch(self.loader, self._epoch)
        if "loader" in place:
            self._n_used = place["n_used"]
            return self._quietly(lambda: self._begin_at(place["loader"]))
        if place["pass"] is None:
            self._put_generators(place["generators"])
            return self._begin()
        self._n_used = place["n_used"]
        return self._quietly(lambda: self._again(place["pass"]))

    def _begin(self) -> Iterator[Any]:
        if not isinstance(self.loader, Stateful):
            self._pass = begin_pass(self.loader, self._epoch, 0)
        self._batches = iter(self.loader)
        return self._batches

    def _begin_at(self, state: Any) -> Iterator[Any]:
        self.loader.load_state_dict(state)
        return self._begin()

    def _again(self, begun: dict[str, Any]) -> Iterator[Any]:
        if begun["streams"] is not None:
            rng.restore(begun["streams"])
        self._put_generators(begun["generators"])
        n_used, loader = self._n_used, self.loader
        if self.resume_data == "order" and isinstance(loader, DataLoader) and not _is_stream(loader):
            with _behind(loader, n_used):
                batches = self._begin()
        else:
            self._say_dropping()
            batches = self._begin()
            for _ in range(n_used - 1):
                next(batches, None)
            if n_used and next(batches, self) is not self:
                return batches
        # The order may be drawn only when the first batch is wanted, which must not be later than here.
        self._batches = chain([first for first in [next(batches, self)] if first is not self], batches)
        return self._batches

    def _say_dropping(self) -> None:
        logger = logging.getLogger(__name__)
        if self._n_used:
            logger.warning(
                "training goes on in the middle of a pass: %d batches are read and dropped, because %s cannot jump to "
                "a position. KeyedDataLoader of trainwright.data can; resume_data='order' reads nothing twice, and is "
                "not exact where samples draw random numbers.",
                *(self._n_used, type(self.loader).__name__),
            )
        if self._epoch and getattr(self.loader, "persistent_workers", False):
            logger.warning(
                "the random streams of persistent workers go on from pass to pass, and are not saved: they draw other "
                "numbers than they would have without a stop. Use persistent_workers=False for an exact resume."
            )

    def _put_generators(self, states: list[Any] | None) -> None:
        if states is None:
            return
        n_own = len(states_of(self.loader))
        if n_own == len(states):
            put_states(self.loader, states)
            return
        logging.getLogger(__name__).warning(
            "the data_loader has %d generator(s) and had %d when the state was saved: its order is another one",
            *(n_own, len(states)),
        )

    @staticmethod
    def _quietly(begin: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        """What was drawn when the pass began is not drawn again."""
        streams = rng.capture()
        batches = begin()
        rng.restore(streams)
        return batches

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
            return {"epoch": self._epoch, "n_used": self._n_used, "loader": self.loader.state_dict()}
        n_used = self._n_used - gives_back
        length = length_or_none(self.loader)
        begun = self._pass
        is_over = length is not None and n_used >= length and ends_by_itself(self.loader)
        if is_over and self._batches is not None:
            next(self._batches, None)  # what a sampler draws behind its last index still belongs to this pass
        if begun is None or is_over:
            return {"epoch": self._epoch + (begun is not None), "pass": None, "generators": states_of(self.loader)}
        saved = {"streams": begun.streams, "generators": begun.generators}
        return {"epoch": self._epoch, "n_used": n_used, "pass": saved}

    def load_state_dict(self, state: dict[str, Any], is_valid: Callable[[], bool] = lambda: True) -> None:
        """Go on from there when the first batch is wanted, if it is still ``is_valid()`` then."""
        self._place, self._is_place_valid = state, is_valid


def _is_stream(loader: DataLoader[Any]) -> bool:
    return isinstance(loader.dataset, IterableDataset)


class _Behind:
    """A sampler, the first time without the first ``n`` things that it gives."""

    def __init__(self, sampler: Any, n: int) -> None:
        self._sampler, self._n = sampler, n

    def __iter__(self) -> Iterator[Any]:
        n, self._n = self._n, 0
        return islice(iter(self._sampler), n, None)

    def __len__(self) -> int:
        return len(self._sampler)


@contextmanager
def _behind(loader: DataLoader[Any], n: int) -> Iterator[None]:
    """An iterator over ``loader`` that is made within it does not read the first ``n`` batches."""
    name = "sampler" if loader.batch_sampler is None else "batch_sampler"
    own = vars(loader)[name]
    vars(loader)[name] = _Behind(own, n)  # the loader itself refuses another one
    try:
        yield
    finally:
        vars(loader)[name] = own


def checked_resume(resume_data: str) -> str:
    """``resume_data`` as it may be."""
    if resume_data not in RESUME_DATA:
        raise ConfigError(
            f"resume_data must be one of {', '.join(RESUME_DATA)}, but got {resume_data!r}."
            f"{did_you_mean(resume_data, RESUME_DATA)}"
        )
    return resume_data


def without_streams(place: dict[str, Any]) -> dict[str, Any]:
    """The place of another rank: as many batches, but not its random streams."""
    if place.get("pass"):
        return {**place, "pass": {"streams": None, "generators": None}}
    return {**place, "generators": None} if "generators" in place else place


def _samplers(loader: Any) -> list[Any]:
    batch_sampler = getattr(loader, "batch_sampler", None)
    found = (loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
    return list({id(one): one for one in found if callable(getattr(one, "set_epoch", None))}.values())


def _set_epoch(loader: Any, epoch: int) -> None:
    for sampler in _samplers(loader):
        sampler.set_epoch(epoch)


def _epoch_of(loader: Any) -> int:
    epochs = [getattr(sampler, "epoch", None) for sampler in _samplers(loader)]
    return next((epoch for epoch in epochs if isinstance(epoch, int)), 0)
