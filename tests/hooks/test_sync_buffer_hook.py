"""Buffers on several ranks, and EmptyCacheHook."""

import pytest
import torch
from torch import distributed as torch_dist
from torch import nn

from trainwright.hooks import EmptyCacheHook, SyncBuffersHook, empty_cache_hook
from trainwright.hooks.sync_buffer_hook import average_buffers
from trainwright.registry import MODELS
from trainwright.runner import Runner
from trainwright.testing.ranks import run_ranks
from trainwright.testing.toys import ToyModel, toy_config

LOOPS = {
    "epochs": {"by_epoch": True, "max_epochs": 2},
    "iterations": {"by_epoch": False, "max_iters": 8, "val_interval": 4},
}


class Buffers(nn.Module):
    def __init__(self, rank):
        super().__init__()
        self.register_buffer("mean", torch.tensor([1.0, 2.0]) * (rank + 1))
        self.register_buffer("count", torch.tensor(3 + rank))
        self.register_buffer("wave", torch.tensor([[1 + 2j], [3j]]) * (rank + 1))
        self.register_buffer("flag", torch.tensor(rank == 0))
        self.register_buffer("turned", (torch.arange(6.0).reshape(2, 3) * (rank + 1)).t())
        self.register_buffer("wide", torch.tensor([4.0], dtype=torch.float64) * (rank + 1))


def averaged(times):
    rank = torch_dist.get_rank()
    model = Buffers(rank)
    for _ in range(times):
        average_buffers(model.buffers())
    return {name: value.tolist() for name, value in model.named_buffers()}


def test_means_over_ranks():
    first, second = run_ranks(2, averaged, 2)
    assert first == {
        "mean": [1.5, 3.0],
        "count": 3,
        "wave": [[1.5 + 3j], [4.5j]],
        "flag": True,
        "turned": (torch.arange(6.0).reshape(2, 3) * 1.5).t().tolist(),
        "wide": [6.0],
    }
    assert second == {**first, "flag": False}


class Host:
    def __init__(self, rank):
        self.model = Buffers(rank)


def when_averaged():
    """After which of the calls the buffers are the same on both ranks; each is made to differ before each call."""
    rank = torch_dist.get_rank()
    hook, found = SyncBuffersHook(), []
    for call in (hook.after_train_epoch, hook.before_val_epoch, hook.before_val_epoch, hook.after_train_epoch):
        host = Host(rank)
        call(host)
        found.append(host.model.mean[0].item() == 1.5)
    again = SyncBuffersHook()
    again.load_state_dict(hook.state_dict())
    host = Host(rank)
    again.before_val_epoch(host)
    return hook.distributed, found, host.model.mean[0].item() == 1.5


def test_once_for_an_epoch_and_its_validation():
    assert run_ranks(2, when_averaged) == [(True, [True, False, True, True], False)] * 2


@MODELS.register_module()
class CountingToy(ToyModel):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = nn.BatchNorm1d(6)

    def forward(self, inputs, label=None, mode="tensor"):
        return super().forward(self.norm(inputs), label, mode)


@pytest.mark.parametrize("loop", list(LOOPS))
def test_one_process_trains_as_without(tmp_path, loop):
    def mean(folder, hooks):
        cfg = toy_config(folder, model={"type": "CountingToy"}, train_cfg=LOOPS[loop], custom_hooks=hooks)
        return Runner.from_cfg(cfg).train().norm.running_mean

    assert torch.equal(mean(tmp_path / "a", [{"type": "SyncBuffersHook"}]), mean(tmp_path / "b", []))


@pytest.mark.parametrize("loop", list(LOOPS))
@pytest.mark.parametrize(
    ("settings", "of_epochs", "of_iterations"),
    [
        ({}, 4, 3),
        ({"after_epoch": False}, 0, 0),
        ({"before_epoch": True}, 8, 6),
        ({"after_epoch": False, "after_iter": True}, 12, 12),
    ],
)
def test_when_the_cache_is_emptied(tmp_path, monkeypatch, loop, settings, of_epochs, of_iterations):
    calls = []
    monkeypatch.setattr(empty_cache_hook, "empty_cache", lambda: calls.append(1))
    cfg = toy_config(tmp_path, train_cfg=LOOPS[loop], custom_hooks=[{"type": "EmptyCacheHook", **settings}])
    Runner.from_cfg(cfg).train()
    assert len(calls) == (of_epochs if loop == "epochs" else of_iterations)


@pytest.mark.parametrize("device", ["cuda", "mps", "cpu"])
def test_of_which_device(monkeypatch, device):
    calls = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: device == "mps")
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append("cuda"))
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: calls.append("mps"))
    EmptyCacheHook()._after_epoch(None)
    assert calls == [device] * (device != "cpu")
