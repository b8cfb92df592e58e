"""What is called before an optimizer's step, on every kind of wrapper."""

import copy

import pytest
import torch
from torch import nn

from trainwright.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict


class CallsSuper(OptimWrapper):
    def step(self, **kwargs):
        super().step(**kwargs)


class OnItsOwn(OptimWrapper):
    def step(self, **kwargs):
        self.optimizer.step(**kwargs)


class UpdatesByItself(OptimWrapper):
    def update_params(self, loss, step_kwargs=None, zero_kwargs=None):
        self.backward(self.scale_loss(loss))
        if self.should_update():
            self.step()
            self.zero_grad()


SCALED = {"dtype": "float32", "loss_scale": 8.0}
KINDS = [
    (OptimWrapper, {}),
    (OptimWrapper, {"clip_grad": {"max_norm": 1e-3}}),
    (CallsSuper, {}),
    (OnItsOwn, {}),
    (UpdatesByItself, {}),
    (AmpOptimWrapper, {"dtype": "bfloat16"}),
    (AmpOptimWrapper, SCALED),
    (AmpOptimWrapper, {**SCALED, "clip_grad": {"max_norm": 1e-3}}),
]


def make(kind=OptimWrapper, **settings):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    return kind(optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), **settings), model


def update(wrapper, model):
    wrapper.update_params(model(torch.ones(4, 3)).square().mean())


@pytest.mark.parametrize(("kind", "settings"), KINDS)
def test_it_sees_complete_gradients_before_clipping_and_changes_nothing(kind, settings):
    plain, untouched = make(kind, **settings)
    wrapper, model = make(kind, **settings)
    seen = []
    wrapper.before_step(lambda: seen.append((model.weight.grad.clone(), copy.deepcopy(model.state_dict()))))
    for _ in range(3):
        update(plain, untouched)
        update(wrapper, model)
    assert torch.equal(model.weight, untouched.weight)
    assert len(seen) == 3
    scale = 8.0 if "loss_scale" in settings else 1.0
    for grad, state in seen:
        again = nn.Linear(3, 2)
        again.load_state_dict(state)
        again(torch.ones(4, 3)).square().mean().backward()
        torch.testing.assert_close(grad, again.weight.grad * scale)


def test_once_an_update_when_losses_are_accumulated():
    wrapper, model = make(accumulative_counts=3)
    counts = []
    wrapper.before_step(lambda: counts.append(wrapper.inner_count))
    for _ in range(6):
        update(wrapper, model)
    assert counts == [3, 6]


def test_a_step_that_the_model_asks_for_itself():
    wrapper, model = make()
    seen = []
    wrapper.before_step(lambda: seen.append(1))
    model(torch.ones(4, 3)).sum().backward()
    wrapper.step()
    assert seen == [1]


def test_each_of_several_wrappers_has_its_own():
    (one, model), (two, other) = make(), make()
    both = OptimWrapperDict(one=one, two=two)
    seen = []
    both["one"].before_step(lambda: seen.append("one"))
    update(both["two"], other)
    update(both["one"], model)
    assert seen == ["one"]
    for name in ("before_step", "loss_scale_tensor"):
        with pytest.raises(
            NotImplementedError, match=rf"`{name}` should be called by each optimizer.*optim_wrapper\['one'\]"
        ):
            getattr(both, name)(*([print] if name == "before_step" else []))


def test_order_and_removal():
    wrapper, model = make()
    assert wrapper._is_plain
    seen = []
    removals = [wrapper.before_step(lambda name=name: seen.append(name)) for name in "abc"]
    update(wrapper, model)
    removals[1]()
    removals[1]()  # a second time does nothing
    update(wrapper, model)
    assert "".join(seen) == "abcac"
    assert not wrapper._is_plain
    removals[0]()
    removals[2]()
    update(wrapper, model)
    assert "".join(seen) == "abcac"
    assert wrapper._is_plain
    assert "step" not in vars(wrapper)
    wrapper.before_step(lambda: seen.append("d"))
    update(wrapper, model)
    assert seen[-1] == "d"


def test_one_that_takes_itself_out():
    wrapper, model = make()
    seen = []

    def once():
        seen.append("once")
        remove()

    remove = wrapper.before_step(once)
    wrapper.before_step(lambda: seen.append("always"))
    update(wrapper, model)
    update(wrapper, model)
    assert seen == ["once", "always", "always"]


def test_a_step_that_somebody_put_on_the_instance_is_kept():
    wrapper, model = make()
    seen = []
    wrapper.step = mine = lambda **kwargs: seen.append("mine")
    wrapper._is_plain = False
    remove = wrapper.before_step(lambda: seen.append("before"))
    update(wrapper, model)
    remove()
    assert seen == ["before", "mine"]
    assert wrapper.step is mine


def test_arguments_of_the_step_pass_through():
    wrapper, model = make(OnItsOwn)
    wrapper.before_step(lambda: None)
    loss = model(torch.ones(4, 3)).sum()
    wrapper.update_params(loss, step_kwargs={"closure": lambda: torch.tensor(7.0)})
    with pytest.raises(TypeError, match="no_such"):
        wrapper.step(no_such=1)


def test_an_error_leaves_the_step_undone():
    wrapper, model = make()
    before = model.weight.detach().clone()

    def fail():
        raise RuntimeError("not this one")

    wrapper.before_step(fail)
    with pytest.raises(RuntimeError, match="not this one"):
        update(wrapper, model)
    assert torch.equal(model.weight, before)


def test_the_loss_scale_as_a_tensor():
    for kind, settings in ((OptimWrapper, {}), (AmpOptimWrapper, {"dtype": "bfloat16"})):
        wrapper, model = make(kind, **settings)
        update(wrapper, model)
        assert wrapper.loss_scale_tensor() is None
    wrapper, model = make(AmpOptimWrapper, dtype="float32", loss_scale={"init_scale": 16.0, "growth_interval": 1})
    assert wrapper.loss_scale_tensor() is None  # nothing was multiplied yet
    scales = []
    wrapper.before_step(lambda: scales.append(wrapper.loss_scale_tensor().item()))
    for _ in range(3):
        update(wrapper, model)
    assert scales == [16.0, 32.0, 64.0]
