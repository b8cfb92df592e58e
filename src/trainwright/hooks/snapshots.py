"""Points that a running training can go back to: in memory, or a checkpoint file."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from torch.utils.data import BatchSampler

from trainwright.base.errors import CheckpointError
from trainwright.data import KeyedDataLoader
from trainwright.data.sampler import DefaultSampler
from trainwright.engine.rewind import Place
from trainwright.state import host_copy


@dataclass
class Snapshot:
    """The whole state of a training in the host's memory, but for the values of its scalar histories."""

    iteration: int  # finished ones
    tree: dict[str, Any]
    infos: dict[str, Any]
    live: dict[str, Any]
    lengths: dict[str, int]
    accumulation: dict[str, Any] | None
    place: Place | None

    @classmethod
    def take(cls, runner: Any) -> Snapshot:
        """A copy of where ``runner`` stands; reads the device."""
        hub, wrapper = runner.message_hub, runner.optim_wrapper
        lengths = runner.ctx.metrics.lengths()
        tree = host_copy(runner.training_tree(histories=False, sharded=True))
        has_counts = hasattr(wrapper, "accumulation_state")
        return cls(
            int(tree["meta"]["iter"]),
            tree,
            dict(hub.runtime_info),
            dict(hub.live),
            lengths,
            wrapper.accumulation_state() if has_counts else None,
            runner.train_loop.place(),
        )

    def read(self, runner: Any) -> dict[str, Any]:
        """A tree of its own: what is put into the training is trained on."""
        tree: dict[str, Any] = host_copy(self.tree)
        for name in ("rng", "ranks"):
            if name in tree:
                tree[name] = tree[name] * int(runner.world_size)  # it was taken on this rank
        return tree

    def put_back(self, runner: Any, tree: dict[str, Any]) -> None:
        """Go on from here; ``tree`` is what :meth:`read` gave."""
        hub = runner.message_hub
        runner.ctx.metrics.go_back(self.lengths)
        _replace(hub.runtime_info, self.infos)
        _replace(hub.live, self.live)
        _go_back(runner, tree, self.accumulation, self.place)


@dataclass
class FilePoint:
    """A checkpoint that this run has written."""

    iteration: int
    path: str
    lengths: dict[str, int]
    place: Place | None

    def read(self, runner: Any) -> dict[str, Any]:
        """The checkpoint; CheckpointError where it is damaged, or does not hold all that training needs."""
        tree: dict[str, Any] = runner.strategy.read_tree(self.path)
        needed = ["state_dict", "optimizer", "meta", *(["param_schedulers"] if runner.param_schedulers else [])]
        missing = [name for name in needed if name not in tree]
        if missing:
            raise CheckpointError(f"{self.path!r} has no {' and no '.join(missing)}: training cannot go back to it.")
        return tree

    def put_back(self, runner: Any, tree: dict[str, Any]) -> None:
        """Go on from here; ``tree`` is what :meth:`read` gave."""
        hub = runner.message_hub
        hub.runtime_info.update(tree.pop("message_hub", {}).get("runtime_info", {}))
        runner.ctx.metrics.go_back(self.lengths)  # in memory there are also names that are not saved
        _go_back(runner, tree, None, self.place)
        hub.update_info("loop_stage", "train")  # a best one was saved inside a validation


def _go_back(runner: Any, tree: dict[str, Any], accumulation: dict[str, Any] | None, place: Place | None) -> None:
    runner.go_back(tree, accumulation)
    if place is not None:
        runner.train_loop.return_to(place)


def _replace(target: dict[str, Any], values: Mapping[str, Any]) -> None:
    target.clear()
    target.update(values)


def obstacle_to_going_back(loop: Any) -> str | None:
    """Why a training by this loop cannot go back in time; None where it can."""
    name = type(loop).__name__
    if not getattr(type(loop), "goes_back", bool)():
        return (
            f"{name} orders its iterations by itself (it has a run() or run_epoch() of its own), and so cannot be "
            "taken back to an earlier one"
        )
    loader = loop.dataloader
    for what in (loader, getattr(loader, "dataset", None)):
        if isinstance(what, Iterator):
            return f"the data of train_dataloader come from a {type(what).__name__}, which can be read only once"
    return None


def sample_indices(loader: Any) -> list[int] | None:
    """Which samples the batch just pulled is made of, where the order is the engine's own; else None."""
    batches = getattr(loader, "batch_sampler", None)
    if not isinstance(loader, KeyedDataLoader) or type(batches) is not BatchSampler:
        return None
    if type(batches.sampler) is not DefaultSampler:
        return None
    sampler: Any = copy.copy(batches.sampler)
    sampler.start = (loader.position[1] - 1) * batches.batch_size
    return [int(index) for index in islice(iter(sampler), batches.batch_size)]
