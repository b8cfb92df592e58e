"""Exact statistics of batch normalisation."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from trainwright.base.errors import DataError
from trainwright.trainer import PreciseBN, TrainerBase, get_bn_modules, get_event_storage, update_bn_stats


class Model(nn.Module):
    """Two layers, of which one may be left out, and a hidden trace in the storage."""

    def __init__(self):
        super().__init__()
        self.first = nn.BatchNorm2d(3, momentum=0.3)
        self.second = nn.BatchNorm2d(3, momentum=None, affine=False)
        self.uses_second = True

    def forward(self, images):
        out = self.first(images)
        return self.second(out) if self.uses_second else out


def batches(*sizes):
    return [torch.randn(size, 3, 2, 2) * 2 + 1 for size in sizes]


def population(images):
    values = torch.cat(images).permute(1, 0, 2, 3).reshape(3, -1).double()
    return values.mean(dim=1).float(), values.var(dim=1, correction=0).float()


def statistics(layer):
    return layer.running_mean.clone(), layer.running_var.clone()


def test_statistics_are_those_of_all_values_whatever_the_sizes_of_batches():
    model, data = Model(), batches(4, 1, 7)
    update_bn_stats(model, data, 3)
    mean, variance = population(data)
    torch.testing.assert_close(model.first.running_mean, mean)
    torch.testing.assert_close(model.first.running_var, variance)
    assert (model.first.momentum, model.second.momentum) == (0.3, None)
    assert not model.first._forward_pre_hooks
    assert model.training


def test_only_so_many_batches_are_used():
    model, data = Model(), batches(4, 4, 4)
    update_bn_stats(model, iter(data), 2)
    torch.testing.assert_close(model.first.running_mean, population(data[:2])[0])


def test_layers_that_are_not_reached_or_do_not_train_keep_theirs():
    model = Model()
    model.uses_second = False
    before = statistics(model.second)
    update_bn_stats(model, batches(4, 4), 2)
    assert all(map(torch.equal, statistics(model.second), before))
    model.first.eval()
    assert get_bn_modules(model) == [model.second]
    model.second.eval()
    update_bn_stats(model, batches(4), 1)  # nothing to do
    assert get_bn_modules(nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False), nn.GroupNorm(1, 2))) == []


def test_too_few_batches_are_an_error_that_changes_nothing():
    model = Model()
    before = statistics(model.first)
    with pytest.raises(DataError, match="to use 5 batches, but data ended after 2"):
        update_bn_stats(model, batches(4, 4), 5)
    assert all(map(torch.equal, statistics(model.first), before))
    assert model.first.momentum == 0.3
    assert not model.first._forward_pre_hooks


def test_a_layer_in_two_places_is_an_error():
    layer = nn.BatchNorm2d(3)
    with pytest.raises(DataError, match="called twice in one forward"):
        update_bn_stats(nn.Sequential(layer, layer), batches(2), 1)


class Trainer(TrainerBase):
    def run_step(self):
        self.storage.put_scalar("loss", 1.0)


class Putting(Model):
    def forward(self, images):
        get_event_storage().put_scalar("seen", len(images))
        return super().forward(images)


def test_the_hook_updates_every_period_and_at_the_end_from_one_pass_on():
    model, data = Putting(), batches(2, 3, 4)
    trainer, found = Trainer(), []
    hook = PreciseBN(2, model, data, 2)
    hook.update_stats = lambda: (PreciseBN.update_stats(hook), found.append((trainer.iter, *statistics(model.first))))
    trainer.register_hooks([hook])
    trainer.train(0, 5)
    assert [at for at, *_ in found] == [1, 3, 4]
    for (_, mean, variance), used in zip(found, ([0, 1], [2, 0], [1, 2]), strict=True):
        expected = population([data[index] for index in used])
        torch.testing.assert_close(mean, expected[0])
        torch.testing.assert_close(variance, expected[1])
    assert list(trainer.storage.histories()) == ["loss"]


def test_the_hook_leaves_models_without_such_layers_alone():
    trainer = Trainer()
    trainer.register_hooks([PreciseBN(1, nn.Linear(2, 2), None, 2)])
    trainer.train(0, 2)


def test_a_loader_without_batches_is_an_error():
    trainer = Trainer()
    trainer.register_hooks([PreciseBN(1, Model(), [], 2)])
    with pytest.raises(DataError, match="has no batch to begin a pass with"):
        trainer.train(0, 2)


def test_a_resumed_hook_goes_on_in_its_data():
    data, found = torch.randn(12, 3, 2, 2), {}
    saved = None
    for name in ("whole", "resumed"):
        torch.manual_seed(5 if name == "whole" else 6)
        model = Model()
        hook = PreciseBN(1, model, DataLoader(data, batch_size=2, shuffle=True), 2)
        if saved is not None:
            hook.load_state_dict(saved)
        for index in range(2 if saved is None else 1):
            hook.update_stats()
            if index == 0 and saved is None:
                saved = hook.state_dict()
        found[name] = statistics(model.first)
    assert all(map(torch.equal, found["whole"], found["resumed"]))
    off = PreciseBN(1, nn.Linear(2, 2), data, 2)
    assert off.state_dict() == {}
    off.load_state_dict(saved)
