"""A checkpoint inside an accumulation window: gradients, loss scales and counts go on where they were."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from trainwright.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from trainwright.strategies import SingleDeviceStrategy

N_LOSSES, COUNTS = 11, 4
AMP = {"type": "AmpOptimWrapper", "dtype": "float16"}
SCALES = {
    "power of two": {"init_scale": 1024.0, "growth_interval": 2},
    "any number": 1000.0,
    "too large at first": {"init_scale": 2.0**40, "growth_interval": 1},
}


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def batches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(4, 5, generator=generator) for _ in range(N_LOSSES)]


def weights(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def make(folder, done=0, file=None, **optim_wrapper):
    """A strategy over the model, resumed from `file` after so many losses."""
    strategy = SingleDeviceStrategy(work_dir=folder, log_kwargs={"log_level": "ERROR"})
    strategy.place_model(mlp())
    optimizer = {"type": "SGD", "lr": 0.1, "momentum": 0.9}
    strategy.attach_optim_wrapper({"optimizer": optimizer, "accumulative_counts": COUNTS, **optim_wrapper})
    if file is not None:
        strategy.resume(file)
    strategy.optim_wrapper.initialize_count_status(strategy.model, done, N_LOSSES)
    return strategy


def train(strategy, data):
    for batch in data:
        with strategy.optim_wrapper.optim_context(strategy.model):
            loss = strategy.model(batch).float().square().mean()
        strategy.optim_wrapper.update_params(loss)
    return weights(strategy.model)


@pytest.mark.parametrize("clip_grad", [None, {"max_norm": 0.05}])
@pytest.mark.parametrize("loss_scale", SCALES.values(), ids=list(SCALES))
@pytest.mark.parametrize("stopped_at", [2, 5, 7, 10])
def test_a_scaled_window_goes_on_bit_for_bit(tmp_path, stopped_at, loss_scale, clip_grad):
    settings = {**AMP, "loss_scale": loss_scale, "clip_grad": clip_grad}
    strategy = make(tmp_path, **settings)
    train(strategy, batches()[:stopped_at])
    file = str(tmp_path / "inside.pth")
    strategy.save_checkpoint(file)
    expected = train(strategy, batches()[stopped_at:])
    resumed = make(tmp_path, stopped_at, file, **copy.deepcopy(settings))
    assert all(p.grad is not None for p in resumed.model.parameters())
    assert torch.equal(train(resumed, batches()[stopped_at:]), expected)
    scalers = [s.optim_wrapper.loss_scaler.state_dict() for s in (strategy, resumed)]
    assert scalers[0] == scalers[1]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({**AMP, "dtype": "float32", "loss_scale": 1024.0}, {"type": "OptimWrapper"}),
        (
            {**AMP, "dtype": "float32", "loss_scale": 1024.0},
            {**AMP, "dtype": "float32", "loss_scale": {"enabled": False}},
        ),
        ({"type": "OptimWrapper"}, {**AMP, "dtype": "float32", "loss_scale": 1024.0}),
        ({"type": "OptimWrapper"}, {"type": "OptimWrapper"}),
    ],
)
def test_a_window_that_begins_in_another_precision(tmp_path, before, after):
    """In float32 a scale by a power of two is exact, so the result is that of no scale at all."""
    strategy = make(tmp_path, **before)
    train(strategy, batches()[:6])
    file = str(tmp_path / "inside.pth")
    strategy.save_checkpoint(file)
    found = train(make(tmp_path, 6, file, **after), batches()[6:])
    assert torch.equal(found, train(make(tmp_path), batches()))


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator, self.critic = mlp(), mlp()

    def play(self, wrappers, n):
        """The critic in every iteration, the generator in every second one."""
        wrappers["critic"].update_params(self.critic(batches()[n]).float().square().mean())
        if n % 2:
            wrappers["generator"].update_params(self.generator(batches()[n]).float().square().mean())


def make_pair(folder, file=None):
    strategy = SingleDeviceStrategy(work_dir=folder, log_kwargs={"log_level": "ERROR"})
    model = strategy.place_model(Pair())
    strategy.attach_optim_wrapper(
        {
            "generator": OptimWrapper(torch.optim.SGD(model.generator.parameters(), lr=0.1), accumulative_counts=3),
            "critic": AmpOptimWrapper(
                optimizer=torch.optim.SGD(model.critic.parameters(), lr=0.1),
                dtype="float32",
                loss_scale=1000.0,
                accumulative_counts=4,
            ),
        }
    )
    if file is not None:
        strategy.resume(file)
    strategy.optim_wrapper.initialize_count_status(model, 0, N_LOSSES)
    return strategy


@pytest.mark.parametrize("stopped_at", range(1, 9))
def test_several_optimizers_go_on_each_in_its_own_window(tmp_path, stopped_at):
    strategy = make_pair(tmp_path)
    for n in range(stopped_at):
        strategy.model.play(strategy.optim_wrapper, n)
    file = str(tmp_path / "inside.pth")
    strategy.save_checkpoint(file)
    resumed = make_pair(tmp_path, file)
    assert isinstance(resumed.optim_wrapper, OptimWrapperDict)
    for n in range(stopped_at, N_LOSSES):
        strategy.model.play(strategy.optim_wrapper, n)
        resumed.model.play(resumed.optim_wrapper, n)
    assert torch.equal(weights(resumed.model), weights(strategy.model))
    assert resumed.optim_wrapper.accumulation_state() == strategy.optim_wrapper.accumulation_state()
