"""What happens when a sample cannot be read or a batch cannot be collated."""

from __future__ import annotations

import pytest
import torch

from trainwright.base.errors import DataError
from trainwright.data import KeyedDataLoader, default_collate


class Plain:
    def __len__(self) -> int:
        return 13

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor(float(index))


class Broken(Plain):
    def __getitem__(self, index):
        if index == 7:
            raise FileNotFoundError("img_7.png")
        return super().__getitem__(index)


@pytest.mark.parametrize("n_workers", [0, 1])
def test_a_broken_sample_is_named(n_workers):
    loader = KeyedDataLoader(Broken(), batch_size=3, num_workers=n_workers)
    seen = []
    with pytest.raises(DataError) as caught:
        seen.extend(loader)
    message = str(caught.value)
    assert message.startswith("sample 7 of dataset Broken could not be read")
    assert ("in loader worker 0" in message) == bool(n_workers)
    assert "FileNotFoundError: img_7.png" in message
    assert 'raise FileNotFoundError("img_7.png")' in message
    assert "data/fetch.py" not in message
    assert len(seen) == 2
    assert n_workers or isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_broken_sample_without_batching_and_a_batch_of_a_batched_dataset():
    class BrokenBatches(Plain):
        def __getitems__(self, indices):
            raise KeyError("annotation")

    with pytest.raises(DataError, match=r"sample 7 of dataset Broken"):
        list(KeyedDataLoader(Broken(), batch_size=None))
    with pytest.raises(
        DataError, match=r"one of the samples \[0, 1\] of dataset BrokenBatches .*KeyError: 'annotation'"
    ):
        list(KeyedDataLoader(BrokenBatches(), batch_size=2))


def test_stop_iteration_in_a_dataset_does_not_end_the_epoch():
    class Exhausted(Plain):
        def __getitem__(self, index):
            return next(iter([]))

    with pytest.raises(DataError, match="sample 0 of dataset Exhausted could not be read: StopIteration"):
        list(KeyedDataLoader(Exhausted()))


def test_a_failing_collate_fn_is_named():
    def my_collate(samples):
        raise ValueError("shapes differ")

    message = r"a batch of the samples \[0, 1\] could not be collated by my_collate: ValueError: shapes differ"
    with pytest.raises(DataError, match=message):
        list(KeyedDataLoader(Plain(), batch_size=2, collate_fn=my_collate))
    with pytest.raises(DataError, match="a sample could not be collated by my_collate: ValueError"):
        list(KeyedDataLoader(Plain(), batch_size=None, collate_fn=my_collate))


@pytest.mark.parametrize("workers", [0, 1])
def test_unequal_shapes_are_named_with_their_samples(workers):
    samples = [{"x": torch.ones(3 if n == 4 else 2)} for n in range(6)]
    loader = KeyedDataLoader(
        samples, sampler=[5, 4, 0, 1], batch_size=2, collate_fn=default_collate, num_workers=workers
    )
    message = r"samples \[5, 4\] could not.*at \['x'\]: sample 0 of the batch has \(2,\), sample 1 has \(3,\)"
    with pytest.raises(DataError, match=message):
        list(loader)
