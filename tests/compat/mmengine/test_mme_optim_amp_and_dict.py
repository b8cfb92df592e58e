"""mmengine.optim.optimizer: several wrappers under names, and those of mixed precision."""

from unittest import mock

import pytest
import torch
from mme_suite import has_gpu
from torch import nn
from torch.optim import SGD, Optimizer

pytestmark = pytest.mark.usefixtures("mmengine")


# -- several under names -----------------------------------------------------------------------------------------------
@pytest.fixture
def wrappers(mmengine):
    from mmengine.optim import OptimWrapper

    optimizers = [SGD(nn.Linear(1, 1).parameters(), lr=lr, momentum=m) for lr, m in ((0.1, 0.8), (0.2, 0.9))]
    return {f"optim{n}": OptimWrapper(optimizer) for n, optimizer in enumerate(optimizers, 1)}


@pytest.fixture
def many(wrappers):
    from mmengine.optim import OptimWrapperDict

    return OptimWrapperDict(**wrappers)


def test_only_wrappers(wrappers, many):
    from mmengine.optim import OptimWrapper, OptimWrapperDict

    assert many.optim_wrappers == wrappers
    assert isinstance(many, OptimWrapper)
    with pytest.raises(AssertionError, match="`OptimWrapperDict` only accept"):
        OptimWrapperDict(**{name: wrapper.optimizer for name, wrapper in wrappers.items()})


def test_what_each_does_by_itself(many):
    with pytest.raises(NotImplementedError, match="`update_params` should be called"):
        many.update_params(1)
    with pytest.raises(NotImplementedError, match="`backward` should be called"):
        many.backward(1)
    with pytest.raises(NotImplementedError, match="`step` should be called"):
        many.step()
    with pytest.raises(NotImplementedError, match="`optim_context` should be called"), many.optim_context(nn.ReLU()):
        pass
    assert many.initialize_count_status(nn.Conv2d(1, 1, 1), 0, 1) is None


def test_what_all_do(wrappers, many):
    for wrapper in wrappers.values():
        wrapper.zero_grad = mock.MagicMock()
    many.zero_grad()
    for wrapper in wrappers.values():
        wrapper.zero_grad.assert_called()


def test_a_mapping(wrappers, many):
    assert many.param_groups["optim1"] == wrappers["optim1"].optimizer.param_groups
    assert many.get_lr() == {"optim1.lr": [0.1], "optim2.lr": [0.2]}
    assert many.get_momentum() == {"optim1.momentum": [0.8], "optim2.momentum": [0.9]}
    assert list(many.items()) == list(wrappers.items())
    assert list(many.values()) == list(wrappers.values())
    assert list(many.keys()) == ["optim1", "optim2"]
    assert many["optim1"] is wrappers["optim1"]
    with pytest.raises(AssertionError, match="Cannot find not_exist in OptimWrapperDict"):
        many["not_exist"]
    assert len(many) == 2
    assert "optim1" in many
    assert "optim3" not in many
    desc = repr(many)
    for name in wrappers:
        assert f"name: {name}\nType: OptimWrapper" in desc


def test_states_of_many(wrappers, many):
    from mmengine.optim import OptimWrapper, OptimWrapperDict

    state = many.state_dict()
    assert state == {name: wrapper.state_dict() for name, wrapper in wrappers.items()}
    others = {name: OptimWrapper(SGD(nn.Linear(1, 1).parameters(), lr=0.7, momentum=0.7)) for name in wrappers}
    loaded = OptimWrapperDict(**others)
    loaded.load_state_dict(state)
    assert loaded.state_dict() == state
    with pytest.raises(AssertionError, match="Mismatched"):
        loaded.load_state_dict({"optim3": {}})


# -- mixed precision ---------------------------------------------------------------------------------------------------
def device():
    return "cuda" if has_gpu() else "cpu"


@pytest.fixture
def amp(mmengine, is_peer):
    """Makes an AmpOptimWrapper; MMEngine has none on a CPU, where it is told that there is a GPU."""
    from mmengine.optim import AmpOptimWrapper

    name = "mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available"
    with mock.patch(name, return_value=True) if is_peer else mock.MagicMock():
        model = nn.Linear(1, 1).to(device())
        yield lambda *args, **kwargs: AmpOptimWrapper(*args, **{"optimizer": SGD(model.parameters(), lr=0.1), **kwargs})


def test_scalers(amp):
    from torch.amp import GradScaler

    assert isinstance(amp().loss_scaler, GradScaler)
    for scale in ("dynamic", {"init_scale": 1, "growth_factor": 2}):
        made = amp(scale)
        assert made._scale_update_param is None
        assert isinstance(made.loss_scaler, GradScaler)
    made = amp(1.0)
    assert made._scale_update_param == 1.0
    assert isinstance(made.loss_scaler, GradScaler)
    with pytest.raises(TypeError, match="loss_scale must be of type float, dict"):
        amp(loss_scale="unknown")


def test_dtypes(amp):
    assert amp().cast_dtype is None
    for name in ("float16", "bfloat16", "float32", "float64"):
        assert amp(dtype=name).cast_dtype is getattr(torch, name)
        assert amp(dtype=getattr(torch, name)).cast_dtype is getattr(torch, name)
    with pytest.raises(AssertionError, match="dtype should be any of"):
        amp(dtype="int63")
    with pytest.raises(AssertionError, match="dtype should be None or instance of torch.dtype"):
        amp(dtype=1)


@pytest.mark.parametrize("groups", [mock.MagicMock(), [], [{"params": []}]], ids=["mock", "none", "one"])
def test_a_mock_of_an_optimizer(amp, groups):
    optimizer = mock.MagicMock(spec=Optimizer)
    optimizer.param_groups = groups
    made = amp(optimizer=optimizer)
    made.loss_scaler = mock.MagicMock()
    made.step()
    made.loss_scaler.step.assert_called_with(made.optimizer)
    made.loss_scaler.update.assert_called_with(made._scale_update_param)
    made.loss_scaler.unscale_.assert_not_called()
    made.clip_grad_kwargs = {"max_norm": 1}
    made._clip_grad = mock.MagicMock()
    made.step(closure=None)
    made.loss_scaler.unscale_.assert_called_with(optimizer)
    made.loss_scaler.step.assert_called_with(made.optimizer, closure=None)


def test_a_scaled_backward(amp):
    made = amp()
    made.loss_scaler = mock.MagicMock()
    made.backward(1)
    made.loss_scaler.scale.assert_called_with(1)
    made.loss_scaler.scale.return_value.backward.assert_called_with()
    assert made.inner_count == 1


def test_states_with_a_scaler(amp):
    made, other = amp(), amp()
    state = made.state_dict()
    assert state.pop("loss_scaler") == made.loss_scaler.state_dict()
    assert state == made.optimizer.state_dict()
    other.load_state_dict(made.state_dict())
    assert other.optimizer.state_dict() == made.optimizer.state_dict()
    assert other.loss_scaler.state_dict() == made.loss_scaler.state_dict()
    other.load_state_dict(made.optimizer.state_dict())


def test_the_context(amp):
    layer = nn.Linear(1, 1).to(device())
    with amp(dtype=torch.bfloat16).optim_context(layer):
        assert layer(torch.ones(1, 1, device=device())).dtype is torch.bfloat16


@pytest.mark.skipif(not has_gpu(), reason="needs a CUDA device")
def test_the_context_of_a_gpu(amp):
    layer = nn.Conv2d(1, 1, 1).to("cuda")
    with amp().optim_context(layer):
        assert layer(torch.randn(1, 1, 1, 1, device="cuda")).dtype is torch.float16
