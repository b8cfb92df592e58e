"""Going on in a pass over a loader: what is read again, and what need not be."""

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler

from trainwright.data import DefaultSampler, KeyedDataLoader
from trainwright.engine.passes import PassReader, read_again, tell_sampler, without_streams
from trainwright.state import rng


class Drawing(torch.utils.data.Dataset):
    """Numbers with noise of the global stream."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return index + torch.rand(())


def made(own):
    generator = torch.Generator().manual_seed(7) if own else None
    return DataLoader(Drawing(), batch_size=2, shuffle=True, generator=generator)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("n_used", [None, 0, 1, 2, 3])
def test_a_pass_is_gone_on_with(own, waits, n_used):
    """``waits``: others draw between entering the pass and its first batch. None: the pass is over."""
    torch.manual_seed(1)
    reader = PassReader(made(own))
    batches = reader.enter(0)
    if waits:
        torch.rand(3)
        reader.before_first()
    used = 3 if n_used is None else n_used
    for _ in range(used):
        next(batches)
        torch.rand(2)
    if n_used is None:
        assert next(batches, None) is None
    state, streams = reader.state_dict(n_used), rng.capture()
    rest = [*batches, *reader.enter(1)]

    other = PassReader(made(own))
    other.load_state_dict(state)
    torch.manual_seed(9)
    before = torch.get_rng_state()
    again = other.enter(0) if n_used is not None else None
    if again is not None:
        assert torch.equal(torch.get_rng_state(), before)
    rng.restore(streams)
    got = [*(again or ()), *other.enter(1)]
    assert len(got) == len(rest) == 6 - used
    assert all(torch.equal(a, b) for a, b in zip(got, rest, strict=True))


def gone_on(state, loader, data_epoch=0, **settings):
    """What another reader gives of the pass."""
    reader = PassReader(loader, **settings)
    reader.load_state_dict(state)
    return list(reader.enter(data_epoch))


@pytest.mark.parametrize("n_used", [0, 1, 2])
def test_a_batch_that_was_read_may_be_used_again(n_used):
    """Also the first one, with which the order was drawn."""
    torch.manual_seed(1)
    reader = PassReader(made(False))
    batches = reader.enter(0)
    whole = [next(batches).long() for _ in range(n_used + 1)]
    state = reader.state_dict(n_used, n_used + 1)
    rest = [batch.long() for batch in gone_on(state, made(False))]
    assert [batch.tolist() for batch in rest[:1]] == [whole[n_used].tolist()]
    assert len(rest) == 3 - n_used


def test_what_was_used_need_not_be_read(caplog):
    read = []

    class Told(Drawing):
        def __getitem__(self, index):
            read.append(index)
            return index

    torch.manual_seed(1)
    reader = PassReader(DataLoader(Told(), batch_size=2, shuffle=True))
    batches = reader.enter(0)
    next(batches)
    state, rest = reader.state_dict(1), [batch.tolist() for batch in batches]
    read.clear()
    assert [batch.tolist() for batch in gone_on(state, DataLoader(Told(), 2, shuffle=True), skips_unread=True)] == rest
    assert len(read) == 3
    assert caplog.text == ""
    gone_on(state, DataLoader(Told(), 2, shuffle=True), advice="; so can another one")
    assert "1 batches are read and dropped, because DataLoader cannot jump to a position" in caplog.text
    assert "KeyedDataLoader of trainwright.data can; so can another one." in caplog.text


def test_a_loader_goes_on_from_its_own_position():
    data = list(range(10))

    def keyed():
        return KeyedDataLoader(data, batch_size=2, sampler=DefaultSampler(data, shuffle=True, seed=3), seed=3)

    reader = PassReader(keyed())
    batches = reader.enter(1)
    next(batches)
    state, rest = reader.state_dict(1), [batch.tolist() for batch in batches]
    assert [batch.tolist() for batch in gone_on(state, keyed(), data_epoch=1)] == rest


def test_a_place_of_another_rank_and_a_loader_with_other_generators(caplog):
    torch.manual_seed(1)
    reader = PassReader(made(True))
    batches = reader.enter(0)
    next(batches)
    state = reader.state_dict(1)
    assert without_streams(state) == {"n_used": 1}
    assert len(gone_on(without_streams(state), made(True))) == 2
    assert "generator" not in caplog.text
    assert len(gone_on(state, made(False))) == 2
    assert "the data_loader has 0 generator(s) and had" in caplog.text


def test_fewer_batches_than_were_used_are_told():
    before = torch.get_rng_state()
    batches, n_found = read_again(made(False), 7)
    assert (list(batches), n_found) == ([], 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_samplers_that_want_to_know_are_told_the_pass():
    sampler = DistributedSampler(Drawing(), num_replicas=1, rank=0)
    tell_sampler(DataLoader(Drawing(), sampler=sampler), 3)
    assert sampler.epoch == 3
    tell_sampler(DataLoader(Drawing()), 3)
    tell_sampler([1, 2], 3)
