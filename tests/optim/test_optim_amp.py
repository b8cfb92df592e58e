"""AmpOptimWrapper on the CPU against the same steps written out."""

from __future__ import annotations

import copy
import re

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.optim import AmpOptimWrapper, OptimWrapper


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))


def make_batches(n: int = 9) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(5, 6, generator=generator) for _ in range(n)]


def wrap(model: nn.Module, **kwargs) -> AmpOptimWrapper:
    return AmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), **kwargs)


def train(model: nn.Module, wrapper: OptimWrapper, batches: list[torch.Tensor]) -> None:
    for batch in batches:
        with wrapper.optim_context(model):
            loss = model(batch).float().square().mean()
        wrapper.update_params(loss)


def weights(model: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16, None])
def test_bfloat16_equals_autocast_written_out(dtype):
    model = make_model()
    plain = copy.deepcopy(model)
    wrapper = wrap(model, dtype=dtype)
    train(model, wrapper, make_batches())
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    for batch in make_batches():
        with torch.autocast("cpu", torch.bfloat16):
            out = plain(batch)
        assert out.dtype is torch.bfloat16
        out.float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert torch.equal(weights(model), weights(plain))
    assert not wrapper.loss_scaler.is_enabled()
    assert wrapper.state_dict()["loss_scaler"] == {}


def test_float16_with_scaler_and_clipping_equals_the_steps_written_out():
    model = make_model()
    plain = copy.deepcopy(model)
    wrapper = wrap(model, dtype="float16", clip_grad={"max_norm": 0.05}, loss_scale={"init_scale": 2.0**12})
    norms: list[torch.Tensor] = []
    wrapper.on_grad_norm = norms.append
    train(model, wrapper, make_batches())
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    expected = []
    for batch in make_batches():
        with torch.autocast("cpu", torch.float16):
            loss = plain(batch).float().square().mean()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        expected.append(nn.utils.clip_grad_norm_(plain.parameters(), 0.05))
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    assert torch.equal(weights(model), weights(plain))
    assert torch.equal(torch.stack(norms), torch.stack(expected))


@pytest.mark.parametrize("counts", [1, 3, 4])
def test_accumulation_under_scaling_equals_full_precision_accumulation(counts):
    """With float32 under the scaler, only the scale by a power of two differs, which is exact."""
    model = make_model()
    plain = copy.deepcopy(model)
    batches = make_batches()
    scaled = wrap(model, dtype="float32", loss_scale=1024.0, accumulative_counts=counts)
    unscaled = OptimWrapper(torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9), accumulative_counts=counts)
    for some, wrapper in ((model, scaled), (plain, unscaled)):
        wrapper.initialize_count_status(some, 0, len(batches))
        train(some, wrapper, batches)
    assert torch.equal(weights(model), weights(plain))
    assert scaled.loss_scaler.get_scale() == 1024.0


def test_a_step_that_overflows_is_left_out_and_the_scale_halved():
    model = make_model()
    wrapper = wrap(model, dtype="float16", loss_scale={"init_scale": 1024.0})
    before = weights(model)
    wrapper.update_params(model(make_batches()[0]).sum() * float("inf"))
    assert torch.equal(weights(model), before)
    assert wrapper.loss_scaler.get_scale() == 512.0
    train(model, wrapper, make_batches())
    assert not torch.equal(weights(model), before)


def test_a_number_as_loss_scale_stays():
    model = make_model()
    wrapper = wrap(model, dtype="float16", loss_scale=64)
    wrapper.update_params(model(make_batches()[0]).sum() * float("inf"))
    assert wrapper.loss_scaler.get_scale() == 64.0


def test_autocast_is_joined_with_the_context_of_accumulation():
    model = make_model()
    inside = []

    class Marks:
        def __enter__(self):
            inside.append("in")

        def __exit__(self, *exc):
            inside.append("out")

    model.no_sync = Marks
    wrapper = wrap(model, dtype="bfloat16", accumulative_counts=2)
    with wrapper.optim_context(model):
        inside.append(str(model(make_batches()[0]).dtype))
    assert inside == ["in", "torch.bfloat16", "out"]
    assert not torch.is_autocast_enabled("cpu")


def test_a_held_context_may_be_nested():
    model = make_model()
    wrapper = wrap(model, dtype="bfloat16")
    with wrapper.optim_context(model):
        with wrapper.optim_context(model):
            pass
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")


def test_state_round_trip(tmp_path):
    model = make_model()
    wrapper = wrap(model, dtype="float16", loss_scale={"init_scale": 256.0})
    train(model, wrapper, make_batches())
    wrapper.update_params(model(make_batches()[0]).sum() * float("inf"))
    torch.save(wrapper.state_dict(), tmp_path / "state.pth")
    state = torch.load(tmp_path / "state.pth", weights_only=True)
    assert list(state) == ["state", "param_groups", "loss_scaler"]
    fresh = wrap(model, dtype="float16")
    fresh.load_state_dict(state)
    assert fresh.loss_scaler.get_scale() == 128.0
    assert "loss_scaler" in state


def test_precision_may_change_between_two_parts_of_a_run():
    model = make_model()
    full = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.2))
    half, brain = wrap(model, dtype="float16"), wrap(model, dtype="bfloat16")
    half.load_state_dict(full.state_dict())
    assert half.get_lr() == {"lr": [0.2]}
    brain.load_state_dict(half.state_dict())
    half.load_state_dict(brain.state_dict())
    full.load_state_dict(half.state_dict())
    assert full.get_lr() == brain.get_lr() == {"lr": [0.2]}


def test_use_fsdp_takes_the_scaler_of_all_ranks(tmp_path):
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = make_model()
        wrapper = wrap(model, dtype="float16", use_fsdp=True)
        assert isinstance(wrapper.loss_scaler, ShardedGradScaler)
    finally:
        dist.destroy_process_group()


def test_use_fsdp_without_a_process_group():
    with pytest.raises(
        ConfigError, match="use_fsdp=True, but there is no process group to agree on overflow in: start"
    ):
        wrap(make_model(), dtype="float16", use_fsdp=True)


def test_bad_dtype():
    known = "float16, bfloat16, float32, float64"
    with pytest.raises(ConfigError, match=rf"dtype should be any of {known}, or None .*, got 'bfloat'."):
        wrap(make_model(), dtype="bfloat")
    with pytest.raises(ConfigError, match=rf"None or instance of torch.dtype, one of {known}, got torch.int8"):
        wrap(make_model(), dtype=torch.int8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_autocast(dtype):
    model = make_model()
    with wrap(model, dtype=dtype).optim_context(model):
        assert model(torch.ones(1, 6)).dtype is torch.float32


def test_a_near_dtype_is_named():
    with pytest.raises(ConfigError, match="Did you mean 'bfloat16'"):
        wrap(make_model(), dtype="bfloat61")


@pytest.mark.parametrize("loss_scale", ["dynamik", 0, -1.0, True, None])
def test_bad_loss_scale(loss_scale):
    message = (
        f"must be of type float, dict (of GradScaler arguments) or 'dynamic', got {loss_scale!r}; a number is above 0"
    )
    with pytest.raises(ConfigTypeError, match=re.escape(message)):
        wrap(make_model(), loss_scale=loss_scale)


@pytest.mark.parametrize("counts", [1, 2])
def test_a_fused_sgd_whose_first_step_overflows(counts):
    def trained(fused):
        model = make_model()
        wrapper = wrap(
            model, dtype="float16", loss_scale={"init_scale": 2.0**30}, fused=fused, accumulative_counts=counts
        )
        before = weights(model)
        train(model, wrapper, make_batches(counts))
        assert torch.equal(weights(model), before)
        assert wrapper.loss_scaler.get_scale() == 2.0**29
        train(model, wrapper, make_batches(40))
        return weights(model)

    torch.testing.assert_close(trained("auto"), trained(False), rtol=1e-5, atol=1e-6)
