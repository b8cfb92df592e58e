"""The norms that hooks share: computed once an update, and only when somebody asks."""

import gc
import weakref

import pytest
import torch
from torch import nn

from trainwright.hooks import gradient_norms
from trainwright.hooks.gradient_norms import clipping_logs_norm, joined, watch_norms, wrappers_by_name
from trainwright.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from trainwright.testing.host_reads import count_host_reads


def make(kind=OptimWrapper, **settings):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    return kind(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), **settings), model


def backward(wrapper, model):
    wrapper.backward(model(torch.ones(4, 3)).square().mean())


def by_hand(model, order=2.0):
    return torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in model.parameters()]), order).item()


@pytest.mark.parametrize("few", [0, 16384])
@pytest.mark.parametrize("order", [1.0, 2.0, float("inf")])
def test_the_total_is_that_of_all_gradients(monkeypatch, few, order):
    monkeypatch.setattr(gradient_norms, "_FEW", few)
    wrapper, model = make()
    seen = []
    norms, end = watch_norms(wrapper, lambda: seen.append(norms.total(order)))
    expected = []
    for _ in range(3):
        backward(wrapper, model)
        expected.append(by_hand(model, order))
        wrapper.step()
        wrapper.zero_grad()
    assert torch.stack(seen).tolist() == pytest.approx(expected, rel=1e-6)
    end()


def test_two_that_watch_share_what_is_computed(monkeypatch):
    calls = []
    computed = gradient_norms.GradientNorms._total
    monkeypatch.setattr(
        gradient_norms.GradientNorms, "_total", lambda self, order: calls.append(order) or computed(self, order)
    )
    wrapper, model = make()
    seen = []
    one, end_one = watch_norms(wrapper, lambda: seen.append(one.total()))
    two, end_two = watch_norms(wrapper, lambda: seen.append(two.total()))
    assert one is two
    for _ in range(2):
        backward(wrapper, model)
        wrapper.step()
    assert calls == [2.0, 2.0]
    assert seen[0] is seen[1]
    assert seen[2] is seen[3]
    assert not torch.equal(seen[0], seen[2])  # of the next update
    end_one()
    backward(wrapper, model)
    wrapper.step()
    assert len(seen) == 5
    end_two()
    end_two()
    assert wrapper._is_plain
    other, end = watch_norms(wrapper, lambda: None)
    assert other is not one
    end()


def test_nothing_is_computed_that_nobody_asks_for(monkeypatch):
    monkeypatch.setattr(gradient_norms.GradientNorms, "_norms", None)
    monkeypatch.setattr(gradient_norms.GradientNorms, "_total", None)
    wrapper, model = make()
    _, end = watch_norms(wrapper, lambda: None)
    backward(wrapper, model)
    wrapper.step()
    end()


def test_with_each_the_total_is_that_of_the_single_ones():
    wrapper, model = make()
    seen = []
    norms, end = watch_norms(wrapper, lambda: seen.append((norms.total(), norms.of_each())), with_each=True)
    backward(wrapper, model)
    model[0].bias.grad = None
    wrapper.step()
    total, each = seen[0]
    grads = [model[0].weight.grad, model[1].weight.grad, model[1].bias.grad]
    assert each.places == [0, 2, 3]
    assert torch.stack(each.norms).tolist() == pytest.approx([g.norm().item() for g in grads], rel=1e-6)
    assert torch.equal(total, joined(each.norms, 2.0))
    end()


def test_without_the_loss_scale_and_unread():
    wrapper, model = make(AmpOptimWrapper, dtype="float32", loss_scale=1024.0)
    seen = []
    norms, end = watch_norms(wrapper, lambda: seen.append(norms.total()))
    backward(wrapper, model)
    expected = by_hand(model) / 1024.0
    with count_host_reads() as reads:
        norms._on_update()
    assert reads.total == 0, reads.report()
    assert seen[0].item() == pytest.approx(expected, rel=1e-6)
    end()


def test_no_gradient_at_all():
    wrapper, _ = make()
    seen = []
    norms, end = watch_norms(wrapper, lambda: seen.append((norms.total(), norms.of_each().norms)))
    wrapper.step()
    assert seen == [(None, ())]
    end()


def test_a_gradient_that_is_not_finite():
    wrapper, model = make()
    seen = []
    norms, end = watch_norms(wrapper, lambda: seen.append(norms.total().item()))
    for number in (float("nan"), float("inf")):
        backward(wrapper, model)
        model[0].weight.grad[0, 0] = number
        wrapper.step()
        wrapper.zero_grad()
        make_finite(model)
    assert seen[0] != seen[0]
    assert seen[1] == float("inf")
    end()


def make_finite(model):
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(0.1)


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph:UserWarning")
def test_gradients_with_a_graph_are_let_go():
    wrapper, model = make()
    seen = []
    norms, end = watch_norms(wrapper, lambda: seen.extend([norms.total(), *norms.of_each().norms]))
    loss = model(torch.ones(4, 3)).square().mean()
    loss.backward(create_graph=True)
    norms._on_update()
    end()
    assert not any(value.requires_grad for value in seen)
    wrapper.zero_grad()


def test_a_wrapper_that_is_dropped_is_not_kept():
    wrapper, _ = make()
    watch_norms(wrapper, lambda: None)
    gone = weakref.ref(wrapper)
    del wrapper
    gc.collect()
    assert gone() is None


def test_names_and_clipping():
    (one, _), (two, _) = make(), make(clip_grad={"max_norm": 1.0})
    assert wrappers_by_name(one) == {"": one}
    assert wrappers_by_name(OptimWrapperDict(a=one, b=two)) == {"a": one, "b": two}
    by_value, _ = make(clip_grad={"type": "value", "clip_value": 1.0})
    assert [clipping_logs_norm(w) for w in (one, two, by_value)] == [False, True, False]
