"""The keyed loader: batches depend on (seed, epoch, position) alone, and iterating leaves the main streams alone."""

from __future__ import annotations

import hashlib
import multiprocessing
import random
from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    Sampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)

from trainwright.base.errors import CheckpointError
from trainwright.data import DefaultSampler, InfiniteSampler, KeyedDataLoader, mix
from trainwright.testing.ranks import run_ranks


class Noisy:
    """Sample i with noise from all three host streams."""

    def __init__(self, size: int = 13) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> torch.Tensor:
        noise = [random.random(), float(np.random.rand()), torch.rand(()).item(), float(np.random.randn())]
        return torch.tensor([float(index), *noise], dtype=torch.float64)


class Stream(IterableDataset):
    def __init__(self, size: int = 10) -> None:
        self.size = size

    def __iter__(self):
        info = get_worker_info()
        first, step = (info.id, info.num_workers) if info else (0, 1)
        for index in range(first, self.size, step):
            yield torch.tensor([float(index), random.random(), torch.rand(()).item()], dtype=torch.float64)


class GlobalShuffle(Sampler):
    """A user's sampler that draws from the global streams, as many do."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __iter__(self):
        order = list(range(self.size))
        random.shuffle(order)
        for index in order:
            yield int((index + np.random.randint(self.size) + torch.randint(self.size, ()).item()) % self.size)

    def __len__(self) -> int:
        return self.size


def loader_of(kind: str, dataset=None, **kwargs) -> KeyedDataLoader:
    dataset = dataset or Noisy()
    size = len(dataset)
    kwargs.setdefault("seed", 5)
    samplers = {
        "default": lambda: {"sampler": DefaultSampler(dataset, seed=3), "batch_size": 3},
        "in order": lambda: {"batch_size": 3},
        "shuffle": lambda: {"batch_size": 3, "shuffle": True},
        "drop last": lambda: {"sampler": DefaultSampler(dataset, seed=3), "batch_size": 3, "drop_last": True},
        "infinite": lambda: {"sampler": InfiniteSampler(dataset, seed=3), "batch_size": 3},
        "weighted": lambda: {"sampler": WeightedRandomSampler([1.0] * size, size), "batch_size": 3},
        "foreign": lambda: {"sampler": GlobalShuffle(size), "batch_size": 3},
        "batch sampler": lambda: {"batch_sampler": BatchSampler(RandomSampler(range(size)), 3, False)},
        "own batch sampler": lambda: {"batch_sampler": OwnBatches(DefaultSampler(dataset, seed=3))},
        "no batching": lambda: {"sampler": DefaultSampler(dataset, seed=3), "batch_size": None},
    }
    return KeyedDataLoader(dataset, **samplers[kind](), **kwargs)


class OwnBatches:
    """Batches of varying size over a sampler, like those that group by shape."""

    def __init__(self, sampler) -> None:
        self.sampler = sampler

    def __iter__(self):
        indices = list(self.sampler)
        for n in range(0, len(indices), 4):
            yield indices[n : n + 1 + n % 3]

    def __len__(self) -> int:
        return -(-len(self.sampler) // 4)


KINDS = [
    "default",
    "in order",
    "shuffle",
    "drop last",
    "weighted",
    "foreign",
    "batch sampler",
    "own batch sampler",
    "no batching",
]
WORKERS = [
    {"num_workers": 0},
    {"num_workers": 1},
    {"num_workers": 2, "prefetch_factor": 3},
    {"num_workers": 2, "persistent_workers": True},
]


def epochs_of(loader, epochs=(0, 1)) -> list[list[torch.Tensor]]:
    passes = []
    for epoch in epochs:
        loader.set_epoch(epoch)
        passes.append([batch.clone() for batch in loader])
    return passes


def same(one, other) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def digest_of_main_streams() -> str:
    state = (random.getstate(), np.random.get_state()[1].tobytes(), np.random.get_state()[2:], torch.get_rng_state())
    return hashlib.sha256(repr((*state[:3], state[3].tolist())).encode()).hexdigest()


# -- the hash ----------------------------------------------------------------------------------------------------------
def test_mix_is_pinned():
    # A change of these numbers changes the data of every resumed run.
    assert mix(0, 0, 0) == 0x238275BC38FCBE91
    assert mix(2**40, 3, 12345) == 0x657535623CE4183A
    assert mix(-1, 0, 5) == mix(2**64 - 1, 0, 5)


def test_mix_spreads_and_tells_all_arguments_apart():
    keys = {mix(seed, epoch, index) for seed in range(8) for epoch in range(8) for index in range(200)}
    assert len(keys) == 8 * 8 * 200
    for shift in (0, 32):
        low = np.array([(mix(1, 2, index) >> shift) & 0xFFFFFFFF for index in range(4000)], dtype=np.float64) / 2**32
        assert abs(low.mean() - 0.5) < 0.02
        assert abs(np.corrcoef(low[:-1], low[1:])[0, 1]) < 0.05


# -- the number of workers does not matter -----------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_batches_do_not_depend_on_workers(kind):
    expected = epochs_of(loader_of(kind))
    assert not same(*expected)
    for options in WORKERS[2:] if kind != "default" else WORKERS:
        passes = epochs_of(loader_of(kind, **options))
        assert all(same(one, other) for one, other in zip(expected, passes, strict=True))


def test_spawned_workers_agree():
    expected = epochs_of(loader_of("default"), [0])
    assert same(expected[0], epochs_of(loader_of("default", num_workers=1, multiprocessing_context="spawn"), [0])[0])


def test_seed_and_epoch_change_the_randomness_of_a_sample():
    def noise_of_sample_4(seed: int, epoch: int) -> tuple[float, ...]:
        loader = loader_of("in order", seed=seed)
        return tuple(torch.cat(epochs_of(loader, [epoch])[0])[4, 1:].tolist())

    noises = {noise_of_sample_4(seed, epoch) for seed in (1, 2) for epoch in (0, 1)}
    assert len(noises) == 4
    assert noise_of_sample_4(1, 0) == noise_of_sample_4(1, 0)


def test_every_visit_to_a_repeated_sample_has_a_key_of_its_own():
    loader = KeyedDataLoader(Noisy(3), sampler=WeightedRandomSampler([1.0, 1.0, 1.0], 30), batch_size=7)
    rows = torch.cat(list(loader))
    assert max(Counter(rows[:, 0].tolist()).values()) > 5
    assert len({tuple(row) for row in rows.tolist()}) == 30


def test_the_passes_of_an_infinite_sampler_differ():
    source = iter(loader_of("infinite", Noisy(4)))
    rows = torch.cat([next(source) for _ in range(8)])  # 24 samples, 6 passes
    assert Counter(rows[:, 0].tolist()) == dict.fromkeys([0.0, 1.0, 2.0, 3.0], 6)
    assert len({tuple(row) for row in rows.tolist()}) == 24


# -- stopping and resuming ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_resume_at_every_stop_point(kind):
    first, second = epochs_of(loader_of(kind), (2, 3))
    for stop in range(len(first) + 1):
        stopped = loader_of(kind)
        stopped.set_epoch(2)
        source = iter(stopped)
        for _ in range(stop):
            next(source)
        resumed = loader_of(kind)
        resumed.load_state_dict(stopped.state_dict())
        assert resumed.state_dict() == stopped.state_dict()
        resumed.set_epoch(2)
        assert same(first[stop:], list(resumed))
        resumed.set_epoch(3)
        assert same(second, list(resumed))


@pytest.mark.parametrize("options", WORKERS)
@pytest.mark.parametrize("stop", [1, 4])
def test_prefetched_batches_do_not_count(options, stop):
    first, second = epochs_of(loader_of("default"), (0, 1))
    stopped = loader_of("default", **options)
    source = iter(stopped)
    for _ in range(stop):
        next(source)
    state = stopped.state_dict()
    assert (state["epoch"], state["consumed_batches"]) == (0, stop)
    assert all(type(value) is int for value in state.values())
    for other in (WORKERS[0], options):
        resumed = loader_of("default", **other)
        resumed.load_state_dict(state)
        assert same(first[stop:], list(resumed))
        assert resumed.state_dict()["consumed_batches"] == len(first)
        resumed.set_epoch(1)
        assert same(second, list(resumed))


@pytest.mark.parametrize("options", [WORKERS[0], WORKERS[3]])
def test_an_infinite_stream_resumes_and_goes_on(options):
    source = iter(loader_of("infinite"))
    expected = [next(source) for _ in range(12)]
    stopped = loader_of("infinite", **options)
    taken = []
    for n in (2, 4):  # a second pass goes on where the consumer stopped, whatever was prefetched
        source = iter(stopped)
        taken += [next(source).clone() for _ in range(n)]
    assert same(expected[:6], taken)
    resumed = loader_of("infinite", **options)
    resumed.load_state_dict(stopped.state_dict())
    resumed.set_epoch(9)
    source = iter(resumed)
    assert same(expected[6:], [next(source) for _ in range(6)])


def test_a_custom_batch_sampler_over_an_infinite_sampler_resumes():
    def make() -> KeyedDataLoader:
        return KeyedDataLoader(Noisy(5), batch_sampler=Pairs(InfiniteSampler(Noisy(5), seed=1)), seed=2)

    source = iter(make())
    expected = [next(source) for _ in range(9)]
    stopped = make()
    source = iter(stopped)
    for _ in range(4):
        next(source)
    resumed = make()
    resumed.load_state_dict(stopped.state_dict())
    source = iter(resumed)
    assert same(expected[4:], [next(source) for _ in range(5)])


class Pairs:
    def __init__(self, sampler) -> None:
        self.sampler = sampler
        self.batch_size = 2

    def __iter__(self):
        source = iter(self.sampler)
        while True:
            yield [next(source), next(source)]


def test_a_resumed_position_counts_for_its_own_epoch_only():
    loader = loader_of("default")
    loader.load_state_dict({"epoch": 1, "consumed_batches": 2})
    loader.set_epoch(2)
    assert loader.state_dict()["consumed_batches"] == 0
    assert len(list(loader)) == len(loader)


def test_a_pass_that_was_left_early_begins_anew():
    loader = loader_of("default")
    whole = list(loader)
    next(iter(loader))
    assert same(whole, list(loader))


def test_a_sampler_whose_epoch_is_set_directly_keys_the_randomness_too():
    by_loader, by_sampler = loader_of("default"), loader_of("default")
    by_loader.set_epoch(4)
    by_sampler.sampler.set_epoch(4)
    assert by_sampler.epoch == 4
    assert same(list(by_loader), list(by_sampler))
    assert by_sampler.state_dict()["epoch"] == 4


def test_resuming_takes_over_the_seeds():
    old, new = loader_of("default", seed=1), loader_of("default", seed=2)
    new.sampler.seed = 99
    new.load_state_dict(old.state_dict())
    assert same(list(old), list(new))


def test_jumping_reads_no_skipped_sample():
    class Counting(Noisy):
        read: list[int] = []

        def __getitem__(self, index):
            self.read.append(index)
            return super().__getitem__(index)

    loader = loader_of("default", Counting())
    loader.load_state_dict({"epoch": 0, "consumed_batches": 3})
    assert sum(len(batch) for batch in loader) == 4
    assert len(Counting.read) == 4


def test_foreign_state_is_refused():
    with pytest.raises(CheckpointError, match="epoch and consumed_batches must be integers.*load_from"):
        loader_of("default").load_state_dict({"position": 3})


def test_another_batch_size_keeps_the_samples(capsys):
    loader = loader_of("default", Noisy(24))
    order = torch.cat(list(loader))
    source = iter(loader)
    for _ in range(4):
        next(source)
    other = KeyedDataLoader(Noisy(24), sampler=DefaultSampler(range(24), seed=0), batch_size=4, seed=5)
    other.load_state_dict(loader.state_dict())
    assert torch.equal(order[12:], torch.cat(list(other)))
    next(source)
    other.load_state_dict(loader.state_dict())
    assert torch.equal(order[12:], torch.cat(list(other)))
    assert "3 samples of the resumed epoch will be seen again" in capsys.readouterr().err


def test_another_dataset_size_is_told(capsys):
    old, new = loader_of("default", Noisy(24)), loader_of("default", Noisy(25))
    next(iter(old))
    new.load_state_dict(old.state_dict())
    assert "had 24 samples when the checkpoint was written and has 25 now" in capsys.readouterr().err


# -- ranks -------------------------------------------------------------------------------------------------------------
def _global_batches(state: dict | None, n_batches: int, batch_size: int) -> tuple[list, dict]:
    loader = KeyedDataLoader(Noisy(24), sampler=DefaultSampler(Noisy(24), seed=3), batch_size=batch_size, seed=5)
    if state:
        loader.load_state_dict(state)
    source = iter(loader)
    return [next(source).tolist() for _ in range(n_batches)], loader.state_dict()


def _merged(parts) -> list:
    steps = zip(*parts, strict=True)
    return [[row for rows in zip(*step, strict=True) for row in rows] for step in steps]


def test_one_rank_goes_on_as_two():
    whole, _ = _global_batches(None, 6, 4)
    _, state = _global_batches(None, 2, 4)
    ranks = run_ranks(2, _global_batches, state, 4, 2)
    assert _merged([batches for batches, _ in ranks]) == whole[2:]
    two = run_ranks(2, _global_batches, None, 3, 2)
    assert _merged([batches for batches, _ in two]) == whole[:3]
    rest, _ = _global_batches(two[0][1], 3, 4)
    assert rest == whole[3:]


# -- main process ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [*KINDS, "infinite"])
@pytest.mark.parametrize("options", WORKERS[::2])
def test_main_streams_are_left_alone(kind, options):
    loader = loader_of(kind, **options)
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    np.random.randn()  # leaves half of a pair in numpy's cache
    before = digest_of_main_streams()
    source = iter(loader)
    for _ in range(3):
        next(source)
        assert digest_of_main_streams() == before
    del source
    assert digest_of_main_streams() == before


def test_main_streams_go_on_between_batches():
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    expected = [(random.random(), np.random.rand(), np.random.randn(), torch.rand(()).item()) for _ in range(5)]
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    drawn = [
        (random.random(), np.random.rand(), np.random.randn(), torch.rand(()).item()) for _ in loader_of("default")
    ]
    assert drawn == expected


# -- workers -----------------------------------------------------------------------------------------------------------
def test_persistent_workers_end_with_the_loader_or_when_closed():
    assert multiprocessing.active_children() == []
    loader = loader_of("default", num_workers=2, persistent_workers=True)
    first = list(loader)
    assert len(multiprocessing.active_children()) == 2
    loader.close()
    assert multiprocessing.active_children() == []
    assert same(first, list(loader))
    next(iter(loader))
    del loader
    assert multiprocessing.active_children() == []


# -- it is a DataLoader ------------------------------------------------------------------------------------------------
def test_it_shows_the_users_objects():
    dataset, sampler = Noisy(), DefaultSampler(Noisy())
    init = print
    loader = KeyedDataLoader(dataset, 4, sampler=sampler, num_workers=1, collate_fn=list, worker_init_fn=init)
    source = iter(loader)
    assert isinstance(loader, DataLoader)
    assert loader.dataset is dataset
    assert loader.sampler is sampler
    assert loader.batch_sampler.sampler is sampler
    assert (loader.collate_fn, loader.worker_init_fn, loader.batch_size) == (list, init, 4)
    assert len(loader) == len(source) == 4
    with pytest.raises(ValueError, match="should not be set after"):
        loader.dataset = dataset
    loader.dataset.size = 2
    del source


class TellsItsWorkersDataset(Noisy):
    owner = ""

    def __getitem__(self, index):
        return [type(get_worker_info().dataset).__name__, self.owner]


def _mark_dataset(worker_id: int) -> None:
    get_worker_info().dataset.owner = f"worker {worker_id}"


def test_worker_init_fn_sees_the_users_dataset():
    loader = KeyedDataLoader(
        TellsItsWorkersDataset(2), num_workers=1, worker_init_fn=_mark_dataset, collate_fn=lambda batch: batch[0]
    )
    assert list(loader) == [["TellsItsWorkersDataset", "worker 0"]] * 2


class Batched(Noisy):
    def __getitems__(self, indices):
        assert type(indices) is list
        return [torch.tensor([index, random.random()]) for index in indices]


def test_a_dataset_that_reads_batches_is_keyed_by_the_batch():
    batches = list(loader_of("default", Batched()))
    assert batches[0].shape == (3, 2)
    assert same(batches, list(loader_of("default", Batched(), num_workers=1)))


def test_a_subset_is_keyed_by_the_sample():
    rows = torch.cat(list(KeyedDataLoader(Subset(Noisy(), range(13)), batch_size=4, seed=5)))
    assert torch.equal(rows, torch.cat(list(KeyedDataLoader(Noisy(), batch_size=3, seed=5))))
    tensors = TensorDataset(torch.arange(6))
    assert torch.equal(next(iter(KeyedDataLoader(Subset(tensors, [4, 2]), batch_size=2)))[0], torch.tensor([4, 2]))


# -- iterable datasets -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [{"num_workers": 0}, {"num_workers": 2}])
def test_an_iterable_dataset_repeats_and_resumes(options):
    def make() -> KeyedDataLoader:
        return KeyedDataLoader(Stream(), batch_size=2, seed=4, **options)

    before = digest_of_main_streams()
    first, second = epochs_of(make())
    assert not same(first, second)
    assert same(first, epochs_of(make(), [0])[0])
    stopped = make()
    source = iter(stopped)
    next(source), next(source)
    resumed = make()
    resumed.load_state_dict(stopped.state_dict())
    assert same(first[2:], list(resumed))
    assert digest_of_main_streams() == before
