"""A pass over a loader that can be gone on with in another process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trainwright.engine.rewind import Pass, begin_pass, put_states, states_of
from trainwright.state import Stateful, rng


class PassReader:
    """Begins passes over ``loader``, and says what it takes to go on in the one that is under way.

    A loader that can jump to a position says it itself. Of any other one the random streams are kept with which the
    pass began: they decide its order, and whoever goes on reads the batches that were used and drops them.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self._pass: Pass | None = None
        self._first: dict[str, Any] | None = None  # random streams before the first batch, where others drew meanwhile
        self._saved: dict[str, Any] = {}

    def enter(self, data_epoch: int) -> Iterator[Any]:
        """The batches of a new pass; those that are left of a saved one, if one was loaded. Going on in a saved pass
        leaves the random streams as they are."""
        saved, self._saved = self._saved, {}
        if isinstance(self.loader, Stateful):
            if "loader" in saved:
                self.loader.load_state_dict(saved["loader"])
            if hasattr(self.loader, "set_epoch"):
                self.loader.set_epoch(data_epoch)
            return iter(self.loader)  # type: ignore[call-overload, no-any-return]
        if "n_used" in saved:
            return self._again(saved, data_epoch)
        put_states(self.loader, saved.get("generators", states_of(self.loader)))
        self._pass, self._first = begin_pass(self.loader, data_epoch, 0), None
        return iter(self.loader)

    def before_first(self) -> None:
        """Whoever does other things between entering a pass and its first batch, which may decide the order, calls this
        right before that."""
        self._first = rng.capture()

    def _again(self, saved: dict[str, Any], data_epoch: int) -> Iterator[Any]:
        now = rng.capture()
        rng.restore(saved.get("streams", now))
        put_states(self.loader, saved.get("began_with", states_of(self.loader)))
        self._pass, self._first = begin_pass(self.loader, data_epoch, 0), saved.get("first")
        batches: Iterator[Any] = iter(self.loader)
        if self._first is not None:
            rng.restore(self._first)
        # All of them, even if none is left: samplers draw at their end, too.
        for _ in range(saved["n_used"]):
            if next(batches, self) is self:
                break
        put_states(self.loader, saved.get("generators", states_of(self.loader)))
        rng.restore(now)
        return batches

    def state_dict(self, n_used: int | None) -> dict[str, Any]:
        """Where it stands when ``n_used`` batches of the pass have been used, or with None between two passes: plain
        data and tensors."""
        if isinstance(self.loader, Stateful):
            return {"loader": self.loader.state_dict()}
        state: dict[str, Any] = {"generators": states_of(self.loader)}
        if n_used is not None and self._pass is not None:
            state.update(n_used=n_used, streams=self._pass.streams, began_with=self._pass.generators)
            if self._first is not None:
                state["first"] = self._first
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on there when a pass is entered next."""
        self._saved = state
