"""Collectives of a thread, beside those of the training."""

import threading

import torch

from trainwright import dist
from trainwright.testing.ranks import run_ranks


def _both_at_once():
    rank, group = dist.get_rank(), dist.background_group(60.0)
    found = []

    def background():
        with dist.on_group(group):
            for n in range(200):
                found.append(dist.all_gather_object(("thread", n)))
                found.append(dist.from_main(lambda n=n: ("main", n)))

    thread = threading.Thread(target=background)
    thread.start()
    total = 0
    for n in range(200):
        number = torch.tensor(n * (rank + 1))
        dist.all_reduce(number)
        total += int(number)
    thread.join()
    dist.drop_group(group)
    expected = [item for n in range(200) for item in ([("thread", n)] * 2, ("main", n))]
    return total, found == expected


def test_a_thread_with_a_group_of_its_own_does_not_get_mixed_up_with_the_training():
    assert run_ranks(2, _both_at_once) == [(3 * sum(range(200)), True)] * 2


def test_one_process_needs_no_group():
    assert dist.background_group(1.0) is None
    with dist.on_group(None):
        assert dist.all_gather_object(1) == [1]
    dist.drop_group(None)
