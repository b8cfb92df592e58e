"""From a loader's config to a loader, and the settings that are refused."""

from __future__ import annotations

import random
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler

from trainwright.base.errors import ConfigError, ConfigTypeError, DataError, RegistryError
from trainwright.data import (
    DefaultSampler,
    InfiniteSampler,
    KeyedDataLoader,
    build_dataloader,
    default_collate,
    worker_init_fn,
)
from trainwright.data.workers import mute_worker
from trainwright.registry import DATA_SAMPLERS, DATASETS, DefaultScope
from trainwright.testing.ranks import run_ranks


class Toy:
    metainfo = {"classes": ("a", "b")}

    def __init__(self, size: int = 10) -> None:
        self.size = size
        self.ready = False

    def full_init(self) -> None:
        self.ready = True

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict:
        return {"x": torch.full((2,), float(index)), "r": random.random() + np.random.rand()}


class Stream(IterableDataset):
    def __iter__(self):
        return iter([torch.rand(()).item() for _ in range(4)])


DATASETS.register_module(name="ToyForBuilder", module=Toy)
DATA_SAMPLERS.register_module(name="BatchSamplerForBuilder", module=BatchSampler)


def test_the_usual_config():
    cfg = {
        "dataset": {"type": "ToyForBuilder", "size": 7},
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "batch_size": 3,
        "num_workers": 0,
        "collate_fn": {"type": "default_collate"},
        "drop_last": True,
    }
    before = repr(cfg)
    loader = build_dataloader(cfg, 11)
    assert repr(cfg) == before
    assert isinstance(loader, KeyedDataLoader)
    assert (loader.seed, loader.sampler.seed, len(loader), loader.batch_size) == (11, 11, 2, 3)
    assert loader.dataset.ready
    assert isinstance(loader.worker_init_fn, partial)
    assert [batch["x"].shape for batch in loader] == [(3, 2), (3, 2)]


def test_a_built_loader_passes_through():
    loader = DataLoader([1, 2])
    assert build_dataloader(loader, 3) is loader


def test_defaults_without_sampler_and_collate_fn():
    loader = build_dataloader({"dataset": Toy(3), "batch_size": 2}, 1)
    assert isinstance(loader.sampler, DefaultSampler)
    assert not loader.sampler.shuffle
    assert [batch["x"][0].tolist() for batch in loader] == [[0.0, 0.0], [2.0, 2.0]]
    assert build_dataloader({"dataset": Toy(3), "shuffle": True}, 4).sampler.shuffle
    unbatched = build_dataloader({"dataset": Toy(3), "batch_size": None, "collate_fn": None}, 1)
    assert [sample["x"].tolist() for sample in unbatched] == [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]


def test_unkeyed_is_a_plain_loader():
    cfg = {"dataset": Toy(4), "sampler": {"type": "InfiniteSampler"}, "num_workers": 2}
    loader = build_dataloader({**cfg, "disable_subprocess_warning": True}, 9, keyed=False)
    assert type(loader) is DataLoader
    assert isinstance(loader.sampler, InfiniteSampler)
    assert loader.worker_init_fn.func is worker_init_fn
    assert loader.worker_init_fn.keywords == {
        "num_workers": 2,
        "rank": 0,
        "seed": 9,
        "disable_subprocess_warning": True,
    }
    assert build_dataloader(cfg, keyed=False).worker_init_fn is None
    assert build_dataloader({**cfg, "disable_subprocess_warning": True}).worker_init_fn is mute_worker


def test_worker_init_fn_seeds_by_worker_and_rank():
    state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        worker_init_fn(1, num_workers=3, rank=2, seed=10)
        drawn = random.random(), np.random.rand(), torch.rand(()).item()
        random.seed(17), np.random.seed(17), torch.manual_seed(17)
        assert drawn == (random.random(), np.random.rand(), torch.rand(()).item())
    finally:
        random.setstate(state[0]), np.random.set_state(state[1]), torch.set_rng_state(state[2])
    with warnings.catch_warnings():
        mute_worker(0)
        with pytest.warns(UserWarning, match="first"):
            warnings.warn("first", stacklevel=1)
        mute_worker(1)
        warnings.warn("second", stacklevel=1)


def test_functions_by_name_callable_and_dict():
    def collate(samples, extra=0):
        return len(samples) + extra

    def build(**options):
        return build_dataloader({"dataset": Toy(4), "batch_size": 4, **options}, 1)

    assert list(build(collate_fn=collate)) == [4]
    assert list(build(collate_fn={"type": collate, "extra": 3})) == [7]
    assert next(iter(build(collate_fn="default_collate")))["x"].shape == (4, 2)
    assert build(worker_init_fn={"type": mute_worker}).worker_init_fn.func is mute_worker  # as MMEngine binds it
    with pytest.raises(RegistryError, match="pseudo_collate"):
        build(collate_fn={"type": "psuedo_collate"})
    with pytest.raises(ConfigTypeError, match="collate_fn should be a dict or callable object.*got 3"):
        build(collate_fn=3)
    with pytest.raises(ConfigError, match="collate_fn is a dict without the key 'type'"):
        build(collate_fn={})


def test_functions_are_found_without_a_warning_where_the_scope_has_none(caplog):
    with DefaultScope.overwrite_default_scope("a_project_without_functions"):
        loader = build_dataloader({"dataset": Toy(4), "collate_fn": {"type": "default_collate"}}, 1)
        assert loader.collate_fn.func is default_collate
        assert not caplog.records
        with pytest.raises(RegistryError, match="own_collate"):
            build_dataloader({"dataset": Toy(4), "collate_fn": {"type": "own_collate"}}, 1)


def test_batch_samplers():
    config = {"type": "BatchSamplerForBuilder", "drop_last": False}
    loader = build_dataloader(
        {"dataset": Toy(5), "sampler": {"type": "DefaultSampler"}, "batch_sampler": config, "batch_size": 2}, 1
    )
    assert isinstance(loader.batch_sampler.sampler, DefaultSampler)
    assert len(list(loader)) == 3
    built = BatchSampler(SequentialSampler(Toy(5)), 5, False)
    assert len(build_dataloader({"dataset": Toy(5), "batch_sampler": built}, 1)) == 1
    assert len(build_dataloader({"dataset": Toy(5), "batch_sampler": built, "sampler": built.sampler}, 1)) == 1
    with pytest.raises(ConfigError, match="batch_sampler is a built BatchSampler, so sampler=.* never be used"):
        build_dataloader({"dataset": Toy(5), "batch_sampler": built, "sampler": {"type": "DefaultSampler"}}, 1)
    with pytest.raises(ConfigError, match="batch_size=4 and a built batch_sampler exclude"):
        build_dataloader({"dataset": Toy(5), "batch_sampler": built, "batch_size": 4}, 1)
    with pytest.raises(ConfigError, match="drop_last belongs into the batch_sampler's dict"):
        build_dataloader({"dataset": Toy(5), "batch_sampler": config, "batch_size": 2, "drop_last": True}, 1)


def test_num_batch_per_epoch():
    loader = build_dataloader({"dataset": Toy(10), "batch_size": 3, "num_batch_per_epoch": 2}, 1)
    assert len(loader) == len(list(loader)) == 2
    assert len(loader.dataset) == 6
    assert loader.dataset.metainfo == Toy.metainfo
    assert len(build_dataloader({"dataset": Toy(10), "batch_size": 3, "num_batch_per_epoch": 9}, 1)) == 4
    sampler = {"type": "BatchSamplerForBuilder", "batch_size": 2, "drop_last": True}
    cfg = {"dataset": Toy(10), "batch_sampler": sampler, "num_batch_per_epoch": 3}
    assert len(build_dataloader(cfg, 1)) == 3
    with pytest.raises(ConfigError, match="num_batch_per_epoch must be an integer of at least 1, got 0"):
        build_dataloader({"dataset": Toy(10), "num_batch_per_epoch": 0}, 1)
    with pytest.raises(ConfigError, match="needs a fixed batch size, got batch_size=None"):
        build_dataloader({"dataset": Toy(10), "batch_size": None, "num_batch_per_epoch": 2}, 1)
    with pytest.raises(ConfigError, match="Stream is an IterableDataset"):
        build_dataloader({"dataset": Stream(), "num_batch_per_epoch": 2}, 1)


def test_iterable_datasets():
    loader = build_dataloader({"dataset": Stream(), "sampler": None, "batch_size": 2}, 1)
    assert isinstance(loader, KeyedDataLoader)
    assert loader.worker_init_fn is None
    assert list(loader) == list(loader)
    assert type(build_dataloader({"dataset": Stream()}, 1, keyed=False)) is DataLoader
    with pytest.raises(ConfigError, match="sampler was set, but dataset Stream is an IterableDataset"):
        build_dataloader({"dataset": Stream(), "sampler": {"type": "DefaultSampler"}}, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_worker": 2}, r"no setting 'num_worker'\. Did you mean 'num_workers'"),
        ({"num_workers": -1}, "num_workers must be an integer of at least 0, got -1"),
        ({"persistent_workers": True}, "persistent_workers=True needs loader workers, but num_workers is 0"),
        ({"prefetch_factor": 4}, "prefetch_factor=4 needs loader workers.*or prefetch_factor=None"),
        ({"timeout": 5}, "timeout=5 needs loader workers"),
        ({"sampler": {"type": "DefaultSampler"}, "shuffle": True}, "sampler and shuffle=True exclude each other"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
        (
            {"batch_sampler": BatchSampler([], 2, False), "shuffle": True},
            "shuffle=True and a built batch_sampler exclude",
        ),
        ({"dataset": None}, "a dataloader needs a dataset"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ConfigError, match=message):
        build_dataloader({"dataset": Toy(), **options}, 1)


def test_what_is_no_loader_and_no_dataset():
    with pytest.raises(ConfigTypeError, match="must be a DataLoader or a dict.*got list"):
        build_dataloader([1], 1)
    with pytest.raises(ConfigTypeError, match="object has no __getitem__"):
        build_dataloader({"dataset": object()}, 1)
    with pytest.raises(DataError, match="dataloader: the dataset Toy is empty"):
        build_dataloader({"dataset": Toy(0)}, 1)


def _seeds(diff: bool) -> tuple[int, int]:
    from trainwright.dist import get_rank

    loader = build_dataloader({"dataset": Toy()}, 100 + get_rank() if diff else None, diff_rank_seed=diff)
    return loader.seed, loader.sampler.seed


@pytest.mark.parametrize("diff", [True, False])
def test_ranks_agree_on_the_seeds(diff):
    first, second = run_ranks(2, _seeds, diff)
    assert first == second
    assert first[0] == 100 or not diff
