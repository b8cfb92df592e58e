"""Going back in time inside a running training: what a hook raises, what the loops do at single iterations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from trainwright.state import Clock, rng


class Rewind(BaseException):
    """Raised by a hook from any event inside training: the loop leaves off, calls ``go_back()``, which puts an earlier
    state in place, and goes on from there as after a resume.

    No Exception, so that nobody takes it for a failure.
    """

    def __init__(self, go_back: Callable[[], None]) -> None:
        super().__init__("training goes back to an earlier state")
        self.go_back = go_back


def run_with_rewinds(body: Callable[[], None]) -> None:
    """``body()``, begun again from where the clock stands then as often as something in it goes back."""
    while True:
        try:
            body()
            return
        except Rewind as rewind:
            go_back = rewind.go_back
        go_back()  # out here the frames of the span, and the batches that they hold, are gone


@dataclass
class Detours:
    """What is done at single iterations, by their index: nothing is paid in a span that begins while there is none.

    ``skipped``: the batch is not used. ``before_pull``: called once, before that batch is taken from the loader.
    ``with_batch``: called with batch_idx and batch before it is used or skipped.
    """

    skipped: set[int] = field(default_factory=set)
    before_pull: dict[int, Callable[[], None]] = field(default_factory=dict)
    with_batch: dict[int, Callable[[int, Any], None]] = field(default_factory=dict)

    @property
    def has_plans(self) -> bool:
        """Whether something is to be called at an iteration to come."""
        return bool(self.before_pull or self.with_batch)

    def pulling(self, clock: Clock, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches."""
        if not self.before_pull:
            return batches
        return self._pulling(clock, batches)

    def _pulling(self, clock: Clock, batches: Iterator[Any]) -> Iterator[Any]:
        while True:
            call = self.before_pull.pop(clock.iter, None)
            if call is not None:
                call()
            try:
                batch = next(batches)
            except StopIteration:
                return
            yield batch

    def iterating(
        self, clock: Clock, use: Callable[[int, Any], None], skip: Callable[[int, Any], None]
    ) -> Callable[[int, Any], None]:
        """What a span calls for each batch."""
        last = max([*self.skipped, *self.with_batch], default=-1)
        if last < clock.iter:
            return use

        def iterate(index: int, batch: Any) -> None:
            call = self.with_batch.pop(clock.iter, None)
            if call is not None:
                call(index, batch)
            (skip if clock.iter in self.skipped else use)(index, batch)

        return iterate


@dataclass(frozen=True)
class Pass:
    """A pass over a loader that cannot jump to a position: its number, the iteration of its first batch, and the random
    streams with which it began, which may decide its order."""

    data_epoch: int
    began: int
    streams: dict[str, Any]
    generators: list[torch.Tensor]


@dataclass(frozen=True)
class Place:
    """Where the training stands in such a loader: batches used of a pass; ``generators`` are those of now."""

    of: Pass | None
    n_batches: int
    generators: list[torch.Tensor]

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors, for a checkpoint."""
        state: dict[str, Any] = {"n_batches": self.n_batches, "generators": self.generators}
        if self.of is not None:
            state["pass"] = {entry.name: getattr(self.of, entry.name) for entry in fields(self.of)}
        return state

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> Place:
        """What :meth:`state_dict` gave."""
        return cls(Pass(**state["pass"]) if "pass" in state else None, state["n_batches"], state["generators"])


def begin_pass(loader: Any, data_epoch: int, began: int) -> Pass:
    """Remember how a pass begins; called before it does."""
    return Pass(data_epoch, began, rng.capture(), states_of(loader))


def states_of(loader: Any) -> list[torch.Tensor]:
    """The states of the generators of a loader and its samplers."""
    return [generator.get_state() for generator in _generators(loader)]


def put_states(loader: Any, states: list[torch.Tensor]) -> None:
    """Put the generators where ``states_of`` found them."""
    for generator, state in zip(_generators(loader), states, strict=True):
        generator.set_state(state)


def order_makers(loader: Any) -> list[Any]:
    """What decides the order of a loader: itself, and its samplers."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    found = (loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
    return list({id(one): one for one in found if one is not None}.values())


def _generators(loader: Any) -> list[torch.Generator]:
    found = {id(g): g for g in (getattr(owner, "generator", None) for owner in order_makers(loader)) if g is not None}
    return [generator for generator in found.values() if isinstance(generator, torch.Generator)]
