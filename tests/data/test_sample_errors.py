"""Samples that cannot be read, when others may take their places."""

from __future__ import annotations

import random

import pytest
import torch

from trainwright.base.errors import ConfigError, DataError
from trainwright.data import DefaultSampler, KeyedDataLoader, build_dataloader

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


class Rotten:
    """20 samples with a draw each; some cannot be read."""

    def __init__(self, bad: tuple[int, ...] = (3, 11, 12)) -> None:
        self.bad = bad

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> torch.Tensor:
        if index in self.bad:
            raise OSError(f"img_{index}.png")
        return torch.tensor([float(index), random.random()], dtype=torch.float64)


class RottenBatches(Rotten):
    def __getitems__(self, indices):
        return [self[index] for index in indices]


def loader(workers: int = 0, batch_size: int = 4, dataset=None, policy="skip", **options) -> KeyedDataLoader:
    dataset = dataset or Rotten()
    sampler = options.pop("sampler", None) or DefaultSampler(dataset, seed=1)
    return KeyedDataLoader(
        dataset, batch_size, sampler=sampler, num_workers=workers, seed=5, on_sample_error=policy, **options
    )


def rows(batches) -> list[list[float]]:
    return [row for batch in batches for row in batch.tolist()]


def test_the_others_are_as_ever_and_batches_stay_whole(capfd):
    whole = rows(loader(dataset=Rotten(())))
    skipping = loader()
    found = rows(skipping)
    assert len(found) == len(whole) == 20
    for one, other in zip(whole, found, strict=True):
        assert (one == other) == (one[0] not in Rotten().bad)
        assert other[0] not in Rotten().bad
    assert sorted(skipping.skipped_samples) == [3, 11, 12]
    told = capfd.readouterr().err.strip().splitlines()
    assert len(told) == 3
    assert " sample " in told[0]
    assert "OSError: img_" in told[0]
    assert told[2].endswith("left out, another sample takes its place (3 of at most 100 different ones)")


@pytest.mark.parametrize("options", [{"workers": 2}, {"batch_size": 1}, {"workers": 1, "batch_size": 3}])
def test_what_takes_the_place_depends_on_seed_epoch_and_index_alone(options):
    assert rows(loader(**options)) == rows(loader())


def test_another_epoch_another_replacement_and_each_sample_is_told_of_once(capfd):
    skipping = loader()
    passes = []
    for epoch in range(3):
        skipping.set_epoch(epoch)
        passes.append({row[0]: row for row in rows(skipping)})
    assert capfd.readouterr().err.count("left out") == 3
    assert passes[0] != passes[1]


def test_without_batching():
    found = [row.tolist() for row in loader(batch_size=None)]
    assert found == rows(loader())


def test_a_dataset_that_reads_whole_batches_reads_them_singly_when_one_fails():
    found = rows(loader(dataset=RottenBatches()))
    assert len(found) == 20
    assert not {row[0] for row in found} & set(Rotten().bad)


def test_a_sampler_that_leaves_samples_out_gets_none_of_them():
    for workers in (0, 1):
        skipping = loader(workers, sampler=[1, 2, 3, 4, 11, 5], batch_size=3)
        assert {row[0] for row in rows(skipping)} <= {1, 2, 4, 5}
    with pytest.raises(DataError, match=r"sample 3 of dataset Rotten could not be read: OSError: img_3.png \(epoch 0"):
        list(loader(sampler=[1, 3], batch_size=1))  # there is no other in its batch


@pytest.mark.parametrize("workers", [0, 2])
def test_more_than_may_be_left_out(workers):
    skipping = loader(workers, policy={"skip": {"max": 2}})
    message = (
        r"3 samples could not be read, and on_sample_error=dict\(skip=dict\(max=2\)\) leaves out 2 at most; they are "
        r"\[11, 12, 3\]. The last one: sample \d+: OSError: img_\d+.png. Mend the data, or raise max"
    )
    with pytest.raises(DataError, match=message):
        list(skipping)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_count_goes_on_after_a_resume(workers):
    first = loader(workers)
    batches = iter(first)
    begun = [next(batches).tolist() for _ in range(4)]
    state = first.state_dict()
    assert state["skipped_samples"] == first.skipped_samples != []
    second = loader(workers, policy={"skip": {"max": len(first.skipped_samples)}})
    second.load_state_dict(state)
    assert second.skipped_samples == first.skipped_samples
    third = loader()
    third.load_state_dict(state)
    assert [row for batch in begun for row in batch] + rows(third) == rows(loader())
    if len(first.skipped_samples) < 3:
        with pytest.raises(DataError, match="samples could not be read"):
            list(second)


def test_the_counts_of_other_ranks_are_taken_on_where_their_number_changed():
    states = [{**loader().state_dict(), "skipped_samples": skipped} for skipped in ([3], [3, 11])]
    one = loader()
    one.load_state_dict({"by_rank": states})
    assert one.skipped_samples == [3, 11]
    assert one.state_is_per_rank
    assert not loader(policy="raise").state_is_per_rank


def test_everything_is_rotten():
    with pytest.raises(DataError, match="sample .* could not be read"):
        list(loader(dataset=Rotten(tuple(range(20)))))


@pytest.mark.parametrize("wrong", ["ignore", {"skip": 3}, {"skip": {"max": 0}}, {"skip": {"most": 3}}, None, True])
def test_a_wrong_policy_is_refused(wrong):
    message = r"on_sample_error must be 'raise', 'skip' or dict\(skip=dict\(max=10\)\), with a max of at least 1, got"
    with pytest.raises(ConfigError, match=message):
        build_dataloader({"dataset": Rotten(), "on_sample_error": wrong})


def test_from_a_config_and_where_it_cannot_be():
    built = build_dataloader({"dataset": Rotten(), "batch_size": 4, "on_sample_error": {"skip": {"max": 3}}}, 1)
    assert len([sample for batch in built for sample in batch]) == 20
    with pytest.raises(ConfigError, match=r"randomness=dict\(keyed=False\) has no keyed indices; leave keyed as it is"):
        build_dataloader({"dataset": Rotten(), "on_sample_error": "skip"}, 1, keyed=False)

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield from ()

    with pytest.raises(ConfigError, match="Stream is an IterableDataset, which has no keyed indices; catch the error"):
        build_dataloader({"dataset": Stream(), "on_sample_error": "skip"}, 1)
