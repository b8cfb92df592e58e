"""Samplers that shard over the ranks: rank r of W takes positions r, r + W, r + 2W, ... of one global order. Ranks are
those of the data axis."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sized

import torch
from torch.utils.data import Sampler

from trainwright.base.errors import DataError
from trainwright.dist import data_info as get_dist_info  # MMEngine's name here, which tests of samplers replace
from trainwright.dist import sync_random_seed
from trainwright.registry import DATA_SAMPLERS

_PIECE = 1 << 16
_STARTS_KEPT = 8  # passes


def checked_size(dataset: Sized, owner: str) -> int:
    """Length of `dataset`; a DataError if it has no sample."""
    size = len(dataset)
    if size == 0:
        raise DataError(
            f"{owner}: the dataset {type(dataset).__name__} is empty (length 0), so there is nothing to draw; "
            "check its path, its split and its filter settings"
        )
    return size


def _in_pieces(order: torch.Tensor) -> Iterator[int]:
    # A list of ten million integers takes half a second and 400 MB.
    for piece in order.split(_PIECE):
        yield from piece.tolist()


@DATA_SAMPLERS.register_module()
class DefaultSampler(Sampler[int]):
    """One pass over the dataset an epoch, in an order that (seed, epoch) determines.

    With `round_up` the first samples are repeated at the end until all ranks have the same number; without it ranks
    may differ by one. `seed` None: the ranks agree on a random one.
    `start`: samples of this rank that the next ``__iter__`` leaves out, without drawing them; it counts once.
    """

    endless = False

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None, round_up: bool = True) -> None:
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.round_up = round_up
        self.epoch = 0
        self.start = 0
        size = checked_size(dataset, type(self).__name__)
        if round_up:
            self.num_samples = -(-size // self.world_size)
            self.total_size = self.num_samples * self.world_size
        else:
            self.num_samples = -(-(size - self.rank) // self.world_size)
            self.total_size = size

    def __iter__(self) -> Iterator[int]:
        start, self.start = self.start, 0
        size = len(self.dataset)
        if self.shuffle:
            order = torch.randperm(size, generator=torch.Generator().manual_seed(self.seed + self.epoch))
        else:
            order = torch.arange(size)
        if self.total_size > size:
            order = order.repeat(-(-self.total_size // size))[: self.total_size]
        return _in_pieces(order[self.rank :: self.world_size][start:])

    def __len__(self) -> int:
        """Samples of this rank in an epoch."""
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of `epoch` for the next iteration."""
        self.epoch = epoch


@DATA_SAMPLERS.register_module()
class InfiniteSampler(Sampler[int]):
    """An endless stream of passes over the dataset, each in its own order; `seed` determines all of them.

    Iterating again goes on where the last iterator stopped. `start`, when set, is the sample of this rank's stream at
    which the next ``__iter__`` begins; it counts once. It costs one permutation for each whole pass left out, but for
    those before ``known_start``: a pass, and the state of the generator that deals it.
    """

    endless = True

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None) -> None:
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.size = checked_size(dataset, type(self).__name__)
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.start: int | None = None
        self.known_start: tuple[int, torch.Tensor] | None = None
        self._starts: dict[int, torch.Tensor] = {}
        self.indices = self._indices_of_rank()

    def start_of_pass(self, position: int) -> tuple[int, torch.Tensor] | None:
        """``known_start`` for a stream that goes on at `position` of rank 0; None where nothing is drawn."""
        wanted = self.world_size * position // self.size
        known = [number for number in self._starts if number <= wanted]
        return (max(known), self._starts[max(known)]) if known else self.known_start

    def _passes(self, skip: int) -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        number = 0
        if not self.shuffle:
            in_order = torch.arange(self.size)
            while True:
                yield in_order
        if self.known_start is not None and self.known_start[0] <= skip:
            number = self.known_start[0]
            generator.set_state(self.known_start[1])
        for _ in range(skip - number):  # the generator has to run through what it dealt before
            torch.randperm(self.size, generator=generator)
        for number in itertools.count(skip):
            self._starts[number] = generator.get_state()
            self._starts.pop(number - _STARTS_KEPT, None)
            yield torch.randperm(self.size, generator=generator)

    def _indices_of_rank(self, start: int = 0) -> Iterator[int]:
        n_passes, offset = divmod(self.rank + self.world_size * start, self.size)
        for order in self._passes(n_passes):
            mine = order[offset :: self.world_size]  # offset >= size, in a tiny dataset: nothing of this pass
            yield from _in_pieces(mine)
            offset += len(mine) * self.world_size - self.size

    def epochs_of(self, first: int, count: int) -> list[int]:
        """The pass to which each of `count` samples of this rank's stream, from position `first`, belongs."""
        begin = self.rank + self.world_size * first
        return [at // self.size for at in range(begin, begin + self.world_size * count, self.world_size)]

    def __iter__(self) -> Iterator[int]:
        if self.start is not None:
            self._starts = {}
            self.indices = self._indices_of_rank(self.start)
            self.start = None
        return self.indices

    def __len__(self) -> int:
        """Size of the dataset: one pass over all ranks."""
        return self.size

    def set_epoch(self, epoch: int) -> None:
        """Nothing: the stream knows no epochs of the training loop."""
