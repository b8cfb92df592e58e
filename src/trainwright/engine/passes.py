"""A pass over a loader that can be gone on with in another process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from trainwright.engine.rewind import put_states, states_of
from trainwright.state import Stateful, rng


class PassReader:
    """Begins passes over ``loader``, and says what it takes to go on in the one that is under way.

    A loader that can jump to a position says it itself. Of any other one the random streams are kept with which the
    pass began: they decide its order, and whoever goes on reads the batches that were used and drops them. With
    ``skips_unread`` a DataLoader over samples that have an index is begun behind them instead, so that nothing is read
    twice, and what samples draw while they are read is not what it would have been. ``advice`` ends the warning.
    """

    def __init__(self, loader: Any, skips_unread: bool = False, advice: str = "") -> None:
        self.loader = loader
        self._skips_unread = skips_unread
        self._advice = advice
        self._began: dict[str, Any] = {}  # what decides the order of the pass
        self._saved: dict[str, Any] = {}

    def enter(self, data_epoch: int | None = None) -> Iterator[Any]:
        """The batches of a new pass; those that are left of a saved one, if one was loaded. Going on in a saved pass
        leaves the random streams as they are. ``data_epoch`` is told to a loader with a position of its own."""
        saved, self._saved = self._fitting(self._saved), {}
        loader = self.loader
        if isinstance(loader, Stateful):
            if "loader" in saved:
                loader.load_state_dict(saved["loader"])
            if data_epoch is not None and hasattr(loader, "set_epoch"):
                loader.set_epoch(data_epoch)
            if "loader" in saved:
                return read_again(loader, 0)[0]
        if "n_used" in saved:
            self._say_dropping(saved["n_used"], data_epoch)
            return self._again(saved)
        if "generators" in saved:
            put_states(loader, saved["generators"])
        self._began = {"streams": rng.capture(), "began_with": states_of(loader)}
        return iter(loader)

    def before_first(self) -> None:
        """Whoever does other things between entering a pass and its first batch, which may decide the order, calls this
        right before that."""
        self._began["first"] = rng.capture()

    def _again(self, saved: dict[str, Any]) -> Iterator[Any]:
        loader, n_used = self.loader, saved["n_used"]
        if "began_with" in saved:
            put_states(loader, saved["began_with"])
        streams, first = saved.get("streams"), saved.get("first")
        self._began = {"streams": streams or rng.capture(), "began_with": states_of(loader)}
        if first is not None:
            self._began["first"] = first
        if self._skips():
            with _begun_behind(loader, n_used):
                # The order may be drawn only when the first batch is wanted, which must not be later than here.
                batches, _ = read_again(loader, 0, streams, first, n_ahead=1)
        else:
            batches, _ = read_again(loader, n_used, streams, first, n_ahead=saved.get("n_read", n_used) - n_used)
        if "generators" in saved:
            put_states(loader, saved["generators"])
        return batches

    def _skips(self) -> bool:
        loader = self.loader
        return self._skips_unread and isinstance(loader, DataLoader) and not isinstance(loader.dataset, IterableDataset)

    def _say_dropping(self, n_used: int, data_epoch: int | None) -> None:
        logger = logging.getLogger(__name__)
        if self._skips():
            return
        if n_used:
            logger.warning(
                "training goes on in the middle of a pass: %d batches are read and dropped, because %s cannot jump to "
                "a position. KeyedDataLoader of trainwright.data can%s.",
                *(n_used, type(self.loader).__name__, self._advice),
            )
        if data_epoch and getattr(self.loader, "persistent_workers", False):
            logger.warning(
                "the random streams of persistent workers go on from pass to pass, and are not saved: they draw other "
                "numbers than they would have without a stop. Use persistent_workers=False for an exact resume."
            )

    def _fitting(self, saved: dict[str, Any]) -> dict[str, Any]:
        """What was saved; of generators nothing where there are others now."""
        n_own, n_then = len(states_of(self.loader)), len(saved.get("generators", ()))
        if n_own == n_then or "generators" not in saved:
            return saved
        logging.getLogger(__name__).warning(
            "the data_loader has %d generator(s) and had %d when the state was saved: its order is another one",
            *(n_own, n_then),
        )
        return {name: value for name, value in saved.items() if name not in ("generators", "began_with")}

    def state_dict(self, n_used: int | None, n_read: int | None = None) -> dict[str, Any]:
        """Where it stands when ``n_used`` batches of the pass have been used, or with None between two passes: plain
        data and tensors. ``n_read``: how many have been read, where the last one is to be used again."""
        if isinstance(self.loader, Stateful):
            return {"loader": self.loader.state_dict()}
        state: dict[str, Any] = {"generators": states_of(self.loader)}
        if n_used is not None and self._began:
            state.update(self._began, n_used=n_used)
            if n_read is not None:
                state["n_read"] = n_read
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on there when a pass is entered next."""
        self._saved = state


def tell_sampler(loader: Any, data_epoch: int) -> None:
    """Tell the loader's sampler the number of the pass that is to begin, if it wants to know."""
    sampler = getattr(loader, "sampler", None)
    if sampler is not None and hasattr(sampler, "set_epoch"):
        sampler.set_epoch(data_epoch)


def without_streams(place: dict[str, Any]) -> dict[str, Any]:
    """The place of another rank: as many batches, but not its random streams."""
    own = ("streams", "first", "began_with", "generators")
    return {name: value for name, value in place.items() if name not in own}


def read_again(
    loader: Any,
    n_used: int,
    streams: dict[str, Any] | None = None,
    first: dict[str, Any] | None = None,
    n_ahead: int = 0,
) -> tuple[Iterator[Any], int]:
    """The batches of a pass over ``loader`` behind the first ``n_used``, and how many of those it has.

    They are read and dropped: shuffling and workers then do what they did. ``streams`` are the random ones with which
    the pass began, ``first`` those right before its first batch, where others drew in between. With ``n_ahead`` so many
    more are read meanwhile. Behind it the streams are as they were.
    """
    now = rng.capture()
    if streams is not None:
        rng.restore(streams)
    batches = iter(loader)
    if first is not None:
        rng.restore(first)
    n_found = sum(1 for _ in islice(batches, n_used))
    ahead = list(islice(batches, n_ahead))
    rng.restore(now)
    return (chain(ahead, batches) if ahead else batches), n_found


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
def _begun_behind(loader: DataLoader[Any], n: int) -> Iterator[None]:
    """An iterator over ``loader`` that is made within it does not read the first ``n`` batches."""
    name = "sampler" if loader.batch_sampler is None else "batch_sampler"
    own = vars(loader)[name]
    vars(loader)[name] = _Behind(own, n)  # the loader itself refuses another one
    try:
        yield
    finally:
        vars(loader)[name] = own
