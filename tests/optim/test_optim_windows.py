"""Accumulation and clipping beside the same steps written out, in each precision."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn

from trainwright.optim import AmpOptimWrapper, OptimWrapper
from trainwright.state import MessageHub


def mlp(dtype=torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).to(dtype)


def batches(n: int, dtype=torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(4, 5, generator=generator, dtype=torch.float64).to(dtype) for _ in range(n)]


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def weights(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def train(wrapper, model, data):
    for batch in data:
        with wrapper.optim_context(model):
            loss = (
                model(batch).float().square().mean() if batch.dtype is torch.float32 else model(batch).square().mean()
            )
        wrapper.update_params(loss)
    return weights(model)


@pytest.mark.parametrize("counts", range(1, 9))
def test_micro_batches_equal_one_big_batch_for_every_length(counts):
    for n_losses in range(1, 18):
        data, model, plain = batches(n_losses, torch.float64), mlp(torch.float64), mlp(torch.float64)
        wrapper = OptimWrapper(sgd(model), accumulative_counts=counts)
        wrapper.initialize_count_status(model, 0, n_losses)
        optimizer = sgd(plain)
        for start in range(0, n_losses, counts):
            plain(torch.cat(data[start : start + counts])).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        torch.testing.assert_close(train(wrapper, model, data), weights(plain), rtol=0, atol=1e-12)


@pytest.mark.parametrize("counts", [2, 3, 4])
def test_a_resume_at_every_boundary_of_every_length(counts):
    for n_losses in (7, 8, 9):
        data = batches(n_losses)
        for resumed_at in range(counts, n_losses, counts):
            model = mlp()
            wrapper = OptimWrapper(sgd(model), accumulative_counts=counts)
            wrapper.initialize_count_status(model, 0, n_losses)
            train(wrapper, model, data[:resumed_at])
            again, other = mlp(), None
            again.load_state_dict(copy.deepcopy(model.state_dict()))
            other = OptimWrapper(sgd(again), accumulative_counts=counts)
            other.load_state_dict(copy.deepcopy(wrapper.state_dict()))
            other.initialize_count_status(again, resumed_at, n_losses)
            assert torch.equal(train(other, again, data[resumed_at:]), train(wrapper, model, data[resumed_at:]))


@pytest.mark.parametrize("clip_grad", [None, {"max_norm": 0.05}, {"type": "value", "clip_value": 0.002}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("counts", [1, 3, 4])
def test_each_precision_is_what_one_would_write_by_hand(counts, dtype, clip_grad):
    data, model, plain = batches(11), mlp(), mlp()
    wrapper = AmpOptimWrapper(
        optimizer=sgd(model),
        dtype=dtype,
        loss_scale={"init_scale": 1024.0} if dtype is torch.float16 else "dynamic",
        accumulative_counts=counts,
        clip_grad=clip_grad,
    )
    wrapper.initialize_count_status(model, 0, len(data))
    optimizer = sgd(plain)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=dtype is torch.float16)
    for window in itertools.zip_longest(*[iter(data)] * counts):
        losses = [batch for batch in window if batch is not None]
        for batch in losses:
            with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
                loss = plain(batch).float().square().mean()
            scaler.scale(loss / len(losses)).backward()
        scaler.unscale_(optimizer)
        if clip_grad == {"max_norm": 0.05}:
            nn.utils.clip_grad_norm_(plain.parameters(), 0.05)
        elif clip_grad:
            nn.utils.clip_grad_value_(plain.parameters(), 0.002)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    assert torch.equal(train(wrapper, model, data), weights(plain))


def test_the_norm_goes_to_the_message_hub_where_nobody_else_takes_it():
    model = mlp()
    wrapper = OptimWrapper(sgd(model), clip_grad={"max_norm": 0.05})
    hub = wrapper.message_hub
    assert hub is MessageHub.get_current_instance()
    try:
        train(wrapper, model, batches(2))
        plain = mlp()
        plain(batches(1)[0]).square().mean().backward()
        first = nn.utils.clip_grad_norm_(plain.parameters(), 0.05)
        assert hub.get_scalar("train/grad_norm").data[0][-2] == first.item()
    finally:
        hub.log_scalars.pop("train/grad_norm", None)


def test_another_function_may_clip():
    model, seen = mlp(), []
    wrapper = OptimWrapper(sgd(model), clip_grad={"max_norm": 0.05})
    assert wrapper.clip_func is nn.utils.clip_grad_norm_
    wrapper.clip_func = lambda params, **options: seen.append((len(params), options))
    train(wrapper, model, batches(1))
    assert seen == [(4, {"max_norm": 0.05})]
    assert OptimWrapper(sgd(model)).clip_grad_kwargs is None


class Context(OptimWrapper):
    def optim_context(self, model):
        return super().optim_context(model)


def test_who_has_no_context_to_give_says_so():
    model, syncing = mlp(), mlp()
    syncing.no_sync = lambda: None
    for kind, some, counts, expected in [
        (OptimWrapper, model, 1, True),
        (OptimWrapper, model, 2, True),
        (OptimWrapper, syncing, 2, False),
        (Context, model, 1, False),
        (Context, model, 2, False),
    ]:
        wrapper = kind(sgd(model), accumulative_counts=counts)
        wrapper.initialize_count_status(some, 0, 10)
        assert wrapper.enters_nothing is expected
    wrapper = OptimWrapper(sgd(model), 2, grad_sync=lambda on: None)
    wrapper.initialize_count_status(model, 0, 10)
    assert wrapper.enters_nothing is False
    assert AmpOptimWrapper(optimizer=sgd(model)).enters_nothing is False
