"""Keys for randomness, and the host streams (python, numpy, torch CPU) that they seed."""

from __future__ import annotations

import random
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random.mtrand import get_bit_generator, set_bit_generator

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_TORCH_CPU: torch.Generator = torch.default_generator


def _scramble(x: int) -> int:
    # splitmix64's output function: a bijection of 64-bit integers in which every input bit moves every output bit.
    x = (x + _GOLDEN) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def epoch_key(seed: int, epoch: int) -> int:
    """64-bit key of one epoch; ``sample_key`` of it and an index is ``mix``."""
    return _scramble(_scramble(seed & _MASK) ^ (epoch & _MASK))


def sample_key(key: int, index: int) -> int:
    """64-bit key of sample `index` under an ``epoch_key``."""
    return _scramble(key ^ (index & _MASK))


def mix(seed: int, epoch: int, index: int) -> int:
    """Key of one visit to one sample: a 64-bit hash in pure integers, the same on every machine."""
    return sample_key(epoch_key(seed, epoch), index)


def seed_host_streams(key: int) -> None:
    """Seed python, numpy and torch's CPU stream from a 64-bit key; about 7 us, and no device is touched."""
    random.seed(key)
    np.random.seed(key >> 32)
    # torch.manual_seed seeds every device as well and costs 70 times as much.
    _TORCH_CPU.manual_seed(key)


class Snapshot(NamedTuple):
    """Where the host streams stand. numpy's bit generator is taken out whole: copying its state costs 60 us more."""

    python: tuple[Any, ...]
    numpy_bits: Any
    numpy_gauss: dict[str, Any] | None
    torch_cpu: torch.Tensor


def take() -> Snapshot:
    """The streams as they stand; install another numpy bit generator before drawing or seeding again."""
    state: dict[str, Any] = np.random.get_state(legacy=False)
    # Half of a Box-Muller pair may wait in numpy; only a full restore brings it back.
    gauss = state if state["has_gauss"] else None
    return Snapshot(random.getstate(), get_bit_generator(), gauss, _TORCH_CPU.get_state())


def put(snapshot: Snapshot) -> None:
    """Put the streams back as ``take`` found them."""
    set_bit_generator(snapshot.numpy_bits)
    if snapshot.numpy_gauss is not None:
        np.random.set_state(snapshot.numpy_gauss)
    random.setstate(snapshot.python)
    _TORCH_CPU.set_state(snapshot.torch_cpu)


class SideStreams:
    """``with`` this, draws and seeding touch streams beside the main ones, which come back as they were.

    With a `key` the side streams start from it and go on, from one ``with`` to the next, where they stopped; without
    one their start is undefined: for a body that seeds before it draws. One ``with`` costs about 50 us.
    """

    def __init__(self, key: int | None = None) -> None:
        self._key = key
        self._bits = np.random.MT19937(0)
        self._side: Snapshot | None = None
        self._main: Snapshot | None = None

    def __enter__(self) -> None:
        self._main = take()
        if self._side is not None:
            put(self._side)
            return
        set_bit_generator(self._bits)
        if self._key is not None:
            seed_host_streams(self._key)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._main is not None
        if self._key is not None:
            self._side = take()
        put(self._main)
        self._main = None
