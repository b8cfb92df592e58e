"""The first pass of a run without keyed randomness begins, for the random streams, when the loop is made."""

import torch
from torch.utils.data import DataLoader

from trainwright.data import DefaultSampler
from trainwright.engine.loops.endless import EarlyStart, EndlessBatches


class FakeRunner:
    def __init__(self, keyed):
        self._randomness_cfg = {"seed": 0, "keyed": keyed}


def made_loader():
    data = list(range(6))
    return DataLoader(data, batch_size=2, sampler=DefaultSampler(data, shuffle=True, seed=0))


def test_weights_are_drawn_behind_what_torch_draws_for_the_pass():
    """As in MMEngine: the iterator is made with the loop, the weights after it."""
    torch.manual_seed(0)
    iterator = iter(made_loader())
    weights = torch.rand(3)
    batches = [batch.tolist() for batch in iterator]

    torch.manual_seed(0)
    loader = made_loader()
    start = EarlyStart(FakeRunner(keyed=False), loader)
    assert torch.rand(3).equal(weights)
    with start.again():
        seed = torch.initial_seed()
        iterator = iter(loader)
    assert seed == 0
    after = torch.rand(3)
    assert [batch.tolist() for batch in iterator] == batches

    torch.manual_seed(0)
    iter(made_loader())
    torch.rand(3)
    assert torch.rand(3).equal(after), "beginning the pass itself has left the streams as they were"


def test_only_the_first_pass_is_begun_so():
    torch.manual_seed(0)
    start = EarlyStart(FakeRunner(keyed=False), made_loader())
    with start.again():
        torch.rand(1)
    state = torch.get_rng_state()
    with start.again():
        torch.rand(1)
    assert not torch.get_rng_state().equal(state)


def test_keyed_randomness_and_other_loaders_draw_nothing():
    state = torch.get_rng_state()
    EarlyStart(FakeRunner(keyed=True), made_loader())
    EarlyStart(FakeRunner(keyed=False), [1, 2])
    assert torch.get_rng_state().equal(state)


def test_endless_batches_begin_again():
    batches = EndlessBatches([1, 2])
    assert [next(batches) for _ in range(5)] == [1, 2, 1, 2, 1]
