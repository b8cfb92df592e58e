"""Which checkpoints stay: the last ones, those of every so often, and the best ones by each metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


def _always(path: str) -> bool:
    return True


@dataclass
class Retention:
    """The regular checkpoints of a run. ``max_keep`` of them stay (-1: all), and besides, for good, those whose number
    (of the epoch or iteration) is a multiple of ``every``.

    ``saved`` are the last ones, oldest first. ``forever`` are among them, or were. ``doomed`` have to go, which is
    only done when a newer one is durable: they are remembered, so that a run that is killed in between deletes them
    when it is resumed.
    """

    max_keep: int
    every: int = 0
    saved: list[str] = field(default_factory=list)
    forever: list[str] = field(default_factory=list)
    doomed: list[str] = field(default_factory=list)

    def add(self, path: str, number: int = 0, is_verified: Callable[[str], bool] = _always) -> list[str]:
        """Count in the checkpoint at ``path``, which is about to be published; returns those that then must go.

        Only checkpoints that verify are counted: where one is damaged an older one stays in its place.
        """
        for paths in (self.saved, self.doomed, self.forever):
            if path in paths:
                paths.remove(path)
        if self.every and number % self.every == 0:
            self.forever.append(path)
        older, self.saved = self.saved, [path]
        gone: list[str] = []
        n_good = 1
        for old in reversed(older):
            if 0 < self.max_keep <= n_good:
                gone.insert(0, old)
                continue
            self.saved.insert(0, old)
            if self.max_keep > 1 and is_verified(old):
                n_good += 1
        self.doomed += [old for old in gone if old not in self.forever]
        return list(self.doomed)

    def doom(self, paths: list[str], newest: str) -> None:
        """These have to go as well; ``newest`` has not."""
        self.doomed = [path for path in [*self.doomed, *paths] if path != newest]

    def removed(self, paths: list[str]) -> None:
        """These are gone."""
        self.doomed = [path for path in self.doomed if path not in paths]

    def copy(self) -> Retention:
        """For going back when a save fails."""
        return Retention(self.max_keep, self.every, list(self.saved), list(self.forever), list(self.doomed))

    def state_dict(self) -> dict[str, list[str]]:
        """The lists; not the settings, which are the config's."""
        return {"saved": list(self.saved), "forever": list(self.forever), "doomed": list(self.doomed)}

    def load_state_dict(self, state: dict[str, list[str]]) -> None:
        """Go on with the lists of an earlier part of the run."""
        self.saved = list(state["saved"])
        self.forever, self.doomed = list(state.get("forever", [])), list(state.get("doomed", []))


@dataclass
class Ranking:
    """The ``n_kept`` best checkpoints by one metric, the best first. NaN is never among them."""

    n_kept: int = 1
    is_greater: bool = True
    entries: list[tuple[float, str]] = field(default_factory=list)

    def beats(self, one: float, other: float) -> bool:
        """Whether the value ``one`` is better than ``other``; an equal one is not."""
        return one > other if self.is_greater else one < other

    def enters(self, value: float) -> bool:
        """Whether a checkpoint with ``value`` is to be kept."""
        if value != value:
            return False
        return len(self.entries) < self.n_kept or self.beats(value, self.entries[-1][0])

    def add(self, value: float, path: str) -> list[str]:
        """Count in the checkpoint at ``path``; returns those that must go."""
        kept = [entry for entry in self.entries if entry[1] != path]
        place = sum(not self.beats(value, score) for score, _ in kept)
        kept.insert(place, (value, path))
        self.entries = kept[: self.n_kept]
        return [old for _, old in kept[self.n_kept :]]
