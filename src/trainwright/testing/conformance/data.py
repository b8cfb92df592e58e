"""Who sees which samples."""

from __future__ import annotations

from typing import Any

from trainwright.dist import data_info
from trainwright.testing.conformance.behaviour import behaviour
from trainwright.testing.conformance.comparing import expect, expect_alike, expect_close, mean_losses, trained
from trainwright.testing.conformance.subject import Subject
from trainwright.testing.conformance.task import Task
from trainwright.testing.rank_runs import SampleRecorder

Batches = list[list[float]]


def _batches(task: Task, data: dict[str, Any], changes: dict[str, Any]) -> tuple[int, Batches]:
    recorder = SampleRecorder()
    task.train("order", data=data, custom_hooks=[recorder], **changes)
    return data_info()[0], recorder.batches


def _of_all(ranks: list[tuple[int, Batches]]) -> Batches:
    """Batches over all data ranks, each sorted; ranks of one data rank must have seen the same."""
    by_data_rank: dict[int, Batches] = {}
    for data_rank, batches in ranks:
        own = by_data_rank.setdefault(data_rank, batches)
        expect(own == batches, f"ranks of data rank {data_rank} saw different samples")
    return [sorted(sum(parts, [])) for parts in zip(*by_data_rank.values(), strict=True)]


@behaviour()
def data_ranks_as_declared(subject: Subject) -> None:
    """As many ranks see different data as the strategy is said to have, so that its batches add up."""
    wanted = subject.n_ranks if subject.n_data_ranks is None else subject.n_data_ranks
    for rank, (_, size) in enumerate(subject.here(_data_info)):
        expect(size == wanted, f"rank {rank} shares the data with {size} ranks, wanted {wanted}")


def _data_info(task: Task) -> tuple[int, int]:
    task.runner("axes")
    return data_info()


@behaviour(quick=True)
def split_without_overlap(subject: Subject) -> None:
    """In an epoch every sample is seen once, by one data rank; the next epoch has another order."""
    merged = _of_all(subject.here(_batches, {"size": 32}, {}))
    epochs = [sum(merged[:4], []), sum(merged[4:], [])]
    for n, seen in enumerate(epochs):
        expect(len(seen) == len(set(seen)) == 32, f"epoch {n}: {len(set(seen))} of 32 samples, seen {len(seen)} times")
    expect(merged[:4] != merged[4:], "two epochs have the same order")


@behaviour(quick=True)
def order_as_one_process(subject: Subject) -> None:
    """The batches of all ranks together are one process's, iteration by iteration."""
    _, wanted = subject.alone(_batches, {"size": 32}, {})
    merged = _of_all(subject.here(_batches, {"size": 32}, {}))
    expect_close(merged, [sorted(batch) for batch in wanted], "samples of an iteration")


@behaviour()
def endless_order_as_one_process(subject: Subject) -> None:
    """Iteration-based training goes through the data as one process does, over its end."""
    changes = {"train_cfg": {"by_epoch": False, "max_iters": 7, "val_interval": 100}}
    data = {"size": 16, "sampler": {"type": "InfiniteSampler", "shuffle": True}}
    _, wanted = subject.alone(_batches, data, changes)
    merged = _of_all(subject.here(_batches, data, changes))
    expect_close(merged, [sorted(batch) for batch in wanted], "samples of an iteration")


@behaviour()
def augmented_as_one_process(subject: Subject) -> None:
    """Random numbers of a sample go by seed, epoch and sample, so augmentation is one process's too."""
    _, wanted = subject.alone(_batches, {"noise": 0.2}, {})
    merged = _of_all(subject.here(_batches, {"noise": 0.2}, {}))
    expect_close(merged, [sorted(batch) for batch in wanted], "augmented samples of an iteration")


@behaviour()
def uneven_end(subject: Subject) -> None:
    """An epoch that the batches do not divide ends on all ranks after the same iteration, and trains on."""
    found = subject.here(trained, {"data": {"size": 29}})
    ended = expect_alike([rank["alike"]["ended"] for rank in found], "ends")
    expect(ended == (2, 8), f"2 epochs of 4 batches ended at (epoch, iteration) {ended}")
    losses = mean_losses(found)["train/loss"]
    expect(all(value == value for value in losses), f"losses {losses}")
