"""The form of an optimizer's step: fused, foreach, or torch's own choice."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from torch import nn

from trainwright.base.errors import ConfigError
from trainwright.optim import AmpOptimWrapper, OptimWrapper, build_optim_wrapper, choose_form

KINDS = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
    "Adam": {"lr": 0.01},
    "AdamW": {"lr": 0.01},
    "Adagrad": {"lr": 0.01},
    "RMSprop": {"lr": 0.01},
    "NAdam": {"lr": 0.01},
}
FUSED = ("SGD", "Adam", "AdamW", "Adagrad")


COMPLEX = [nn.Parameter(torch.ones(2, dtype=torch.complex64))]


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def batches(n: int = 9) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(4, 5, generator=generator) for _ in range(n)]


def train(wrapper, model, data=None):
    for batch in batches() if data is None else data:
        with wrapper.optim_context(model):
            loss = model(batch).float().square().mean()
        wrapper.update_params(loss)
    return weights(model)


def weights(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def made(name, fused=None, groups=False, **kwargs):
    model = mlp()
    params = [{"params": [p]} for p in model.parameters()] if groups else model.parameters()
    optimizer = getattr(torch.optim, name)(params, **KINDS[name])
    return OptimWrapper(optimizer, fused=fused, **kwargs), model


def form(wrapper):
    return {(g.get("fused"), g.get("foreach")) for g in wrapper.optimizer.param_groups}


@pytest.mark.parametrize("name", KINDS)
def test_none_is_torch_s_own_choice_bit_for_bit(name):
    wrapper, model = made(name)
    plain = mlp()
    optimizer = getattr(torch.optim, name)(plain.parameters(), **KINDS[name])
    assert wrapper.optimizer.defaults == optimizer.defaults
    for batch in batches():
        plain(batch).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert torch.equal(train(wrapper, model), weights(plain))


@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_auto_is_what_torch_does_when_built_with_that_form(name, groups):
    wrapper, model = made(name, "auto", groups)
    plain = mlp()
    argument = {"fused": True} if name in FUSED else {"foreach": True}
    optimizer = getattr(torch.optim, name)(plain.parameters(), **KINDS[name], **argument)
    assert form(wrapper) == ({(True, False)} if name in FUSED else {(None, True)})
    for batch in batches():
        plain(batch).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert torch.equal(train(wrapper, model), weights(plain))
    torch.testing.assert_close(weights(model), train(*made(name)), rtol=0, atol=1e-5)


def test_false_is_the_loop():
    model = mlp()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1, fused=True), fused=False)
    assert form(wrapper) == {(False, False)}
    assert not hasattr(wrapper.optimizer, "_step_supports_amp_scaling")
    train(wrapper, model)


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_an_optimizer_that_has_taken_steps(name):
    wrapper, model = made(name)
    other, again = made(name, True)
    train(wrapper, model, batches(3))
    train(other, again, batches(3))
    choose_form(wrapper.optimizer, True)
    torch.testing.assert_close(
        train(wrapper, model, batches()[3:]), train(other, again, batches()[3:]), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(("saved", "here"), [(None, "auto"), ("auto", None)])
def test_a_resume_keeps_the_form_of_the_config(saved, here):
    wrapper, model = made("AdamW", saved)
    train(wrapper, model, batches(4))
    state = copy.deepcopy(wrapper.state_dict())
    other, again = made("AdamW", here)
    again.load_state_dict(model.state_dict())
    before = form(other)
    other.load_state_dict(state)
    assert form(other) == before
    assert state["param_groups"][0]["fused"] is wrapper.optimizer.param_groups[0]["fused"]
    torch.testing.assert_close(
        train(other, again, batches()[4:]), train(wrapper, model, batches()[4:]), rtol=0, atol=1e-6
    )


def test_a_state_of_other_groups_is_torch_s_to_refuse():
    with pytest.raises(ValueError, match="different number of parameter groups"):
        made("SGD")[0].load_state_dict(made("SGD", groups=True)[0].optimizer.state_dict())


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
@pytest.mark.parametrize("clip_grad", [None, {"max_norm": 0.05}])
def test_with_a_scaler_and_clipping(name, clip_grad):
    found = []
    for fused in (None, "auto"):
        model = mlp()
        wrapper = AmpOptimWrapper(
            optimizer=getattr(torch.optim, name)(model.parameters(), **KINDS[name]),
            dtype="float16",
            loss_scale={"init_scale": 256.0},
            clip_grad=clip_grad,
            accumulative_counts=2,
            fused=fused,
        )
        train(wrapper, model)
        before = weights(model)
        for _ in range(2):
            wrapper.update_params(model(batches(1)[0]).sum() * float("inf"))
        assert torch.equal(weights(model), before)
        found.append((before, wrapper.loss_scaler.get_scale()))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=0, atol=1e-5)
    assert found[0][1] == found[1][1] == 128.0


def test_it_is_a_setting_of_the_config():
    cfg = {"optimizer": {"type": "SGD", "lr": 0.1}, "fused": "auto", "paramwise_cfg": {"bias_lr_mult": 2}}
    assert form(build_optim_wrapper(mlp(), cfg)) == {(True, False)}
    cfg = {"type": "AmpOptimWrapper", "dtype": "bfloat16", "optimizer": {"type": "Adam"}, "fused": True}
    assert form(build_optim_wrapper(mlp(), cfg)) == {(True, False)}


class Own(torch.optim.SGD):
    def step(self, closure=None):
        return None


def test_auto_leaves_alone_what_torch_has_no_form_for():
    assert form(OptimWrapper(torch.optim.SGD(COMPLEX, lr=0.1), fused="auto")) == {(None, True)}
    own = OptimWrapper(Own(mlp().parameters(), lr=0.1), fused="auto")
    assert form(own) == {(None, True)}
    lbfgs = OptimWrapper(torch.optim.LBFGS(mlp().parameters()), fused="auto")
    assert form(lbfgs) == {(None, None)}
    derived = torch.optim.Adam(mlp().parameters(), differentiable=True)
    assert form(OptimWrapper(derived, fused="auto")) == {(None, None)}


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        (lambda: torch.optim.RMSprop(mlp().parameters()), "RMSprop has no such form"),
        (lambda: Own(mlp().parameters(), lr=0.1), "Own has no such form"),
        (lambda: torch.optim.SGD(COMPLEX, lr=0.1), "it is not for parameters of torch.compl"),
        (lambda: torch.optim.Adam(mlp().parameters(), differentiable=True), "Adam with differentiable=True has no"),
        (lambda: torch.optim.SGD(mlp().to("meta").parameters(), lr=0.1), "it is not for the device meta"),
        (
            lambda: torch.optim.SGD([nn.Buffer(torch.ones(2)).as_subclass(nn.UninitializedParameter)], lr=0.1),
            "it is not for parameters of type UninitializedParameter",
        ),
    ],
)
def test_true_says_why_there_is_none(optimizer, reason):
    message = f"fused=True, but there is no fused form here: {reason}"
    with pytest.raises(ConfigError, match=re.escape(message)):
        OptimWrapper(optimizer(), fused=True)


@pytest.mark.parametrize("fused", ["always", 1, 0, []])
def test_bad_values(fused):
    message = f"fused must be 'auto', True, False, or None for torch's own choice, got {fused!r}; 'auto' takes"
    with pytest.raises(ConfigError, match=re.escape(message)):
        OptimWrapper(torch.optim.SGD(mlp().parameters(), lr=0.1), fused=fused)
