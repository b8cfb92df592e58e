"""ApexOptimWrapper with a stand-in for apex."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from types import ModuleType

import pytest
import torch
from torch import nn

from trainwright.base.errors import MissingExtraError
from trainwright.optim import ApexOptimWrapper, OptimWrapper, build_optim_wrapper


class FakeAmp(ModuleType):
    def __init__(self) -> None:
        super().__init__("apex.amp")
        self.given: list[tuple[nn.Module, dict]] = []
        self.loaded: list[dict] = []

    def initialize(self, model, optimizer, **settings):
        self.given.append((model, settings))
        optimizer._amp_stash = True
        return model, optimizer

    @contextmanager
    def scale_loss(self, loss, optimizer):
        yield loss * 4.0
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad.div_(4.0)

    def state_dict(self):
        return {"loss_scaler0": {"loss_scale": 4.0}}

    def load_state_dict(self, state):
        self.loaded.append(state)


@pytest.fixture
def amp(monkeypatch):
    fake, apex = FakeAmp(), ModuleType("apex")
    apex.amp = fake
    monkeypatch.setitem(sys.modules, "apex", apex)
    monkeypatch.setitem(sys.modules, "apex.amp", fake)
    return fake


def make(**kwargs):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    return ApexOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), **kwargs), model


def train(wrapper, model, n=3):
    for _ in range(n):
        with wrapper.optim_context(model):
            loss = model(torch.ones(4, 3)).square().mean()
        wrapper.update_params(loss)


def test_apex_prepares_model_and_optimizer_once_and_scales_the_loss(amp):
    wrapper, model = make(opt_level="O2", loss_scale=4.0)
    train(wrapper, model)
    (prepared, settings), *more = amp.given
    assert prepared is model
    assert not more
    assert settings == {
        "opt_level": "O2",
        "loss_scale": 4.0,
        "enabled": True,
        "cast_model_type": None,
        "patch_torch_functions": None,
        "keep_batchnorm_fp32": None,
        "master_weights": None,
        "cast_model_outputs": None,
        "num_losses": 1,
        "verbosity": 1,
        "min_loss_scale": None,
        "max_loss_scale": 2.0**24,
    }
    torch.manual_seed(0)
    plain = nn.Linear(3, 2)
    train(OptimWrapper(torch.optim.SGD(plain.parameters(), lr=0.1)), plain)
    assert torch.equal(model.weight, plain.weight)
    assert wrapper.inner_count == 3


def test_the_module_inside_a_parallel_wrapper_is_prepared(amp):
    wrapper, model = make()
    with wrapper.optim_context(nn.DataParallel(model)):
        pass
    assert amp.given[0][0] is model


def test_scales_wait_until_apex_has_prepared_the_optimizer(amp):
    wrapper, model = make()
    train(wrapper, model)
    state = wrapper.state_dict()
    assert state["apex_amp"] == {"loss_scaler0": {"loss_scale": 4.0}}
    fresh, other = make()
    fresh.load_state_dict(state)
    assert amp.loaded == []
    train(fresh, other, 1)
    assert amp.loaded == [state["apex_amp"]]
    fresh.load_state_dict(state)
    assert len(amp.loaded) == 2
    fresh.load_state_dict({key: value for key, value in state.items() if key != "apex_amp"})
    assert len(amp.loaded) == 2


def test_several_groups_keep_their_base_settings(amp):
    model = nn.Linear(3, 2)
    cfg = {"type": "ApexOptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}, "paramwise_cfg": {"bias_lr_mult": 2}}
    wrapper = build_optim_wrapper(model, cfg)
    assert set(wrapper.state_dict()) == {"state", "param_groups", "base_param_settings", "apex_amp"}
    wrapper.load_state_dict(wrapper.state_dict())
    assert wrapper.get_lr() == {"base_lr": [0.1], "lr": [0.1, 0.2]}


def test_without_apex(monkeypatch):
    monkeypatch.setitem(sys.modules, "apex", None)
    monkeypatch.delitem(sys.modules, "apex.amp", raising=False)
    message = (
        "ApexOptimWrapper needs the package 'apex.amp', which is not installed. Install it with: the source, see "
        "https://github.com/NVIDIA/apex ('apex' on PyPI is another package); or use AmpOptimWrapper"
    )
    with pytest.raises(MissingExtraError, match=re.escape(message)):
        make()
