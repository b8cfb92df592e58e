"""A resume far into a large training reads nothing of what it has seen; loaders of a user's own are resumed too."""

from __future__ import annotations

import pytest
import torch

from trainwright.data import DefaultSampler, InfiniteSampler, KeyedDataLoader

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

SIZE, AT, BATCH = 10_000_000, 1_000_000, 9


class Counting:
    """Ten million samples; counts what is read of them, in all processes."""

    def __init__(self) -> None:
        self.n_read = torch.zeros(1, dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> int:
        self.n_read += 1
        return index


@pytest.mark.parametrize(("sampler", "workers"), [(DefaultSampler, 2), (InfiniteSampler, 0)])
def test_at_iteration_a_million_of_ten_million_samples(sampler, workers):
    dataset = Counting()
    loader = KeyedDataLoader(dataset, BATCH, sampler=sampler(dataset, seed=1), num_workers=workers, seed=1)
    state = {**loader.state_dict(), "consumed_batches": AT, "consumed_samples": AT * BATCH}
    loader.load_state_dict(state)
    batch = next(iter(loader))
    order = torch.randperm(SIZE, generator=torch.Generator().manual_seed(1))
    assert torch.equal(batch, order[AT * BATCH : AT * BATCH + BATCH])
    assert int(dataset.n_read) <= BATCH * (1 + 2 * workers + 1)
    assert loader.state_dict()["consumed_samples"] == (AT + 1) * BATCH
