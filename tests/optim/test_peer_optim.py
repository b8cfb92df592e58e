"""Optim wrappers and their constructor beside MMEngine's: same model, same batches, same settings."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn

from trainwright import optim as ours
from trainwright.base.logs import MMLogger
from trainwright.registry import OPTIMIZERS
from trainwright.state import MessageHub
from trainwright.testing.ranks import run_ranks

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]  # MMEngine warns while it is imported
N_LOSSES = 11


@pytest.fixture
def theirs():
    pytest.importorskip("mmengine")
    from mmengine import optim

    return optim


@pytest.fixture(autouse=True)
def _quiet():
    with MMLogger("peer-optim", log_level="ERROR").as_current():
        yield


class Net(nn.Module):
    """One of each kind of layer that a rule is about, with a shared weight and a frozen part."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.conv = nn.Conv2d(2, 4, 1)
        self.bn = nn.BatchNorm2d(4)
        self.dw = nn.Conv2d(4, 4, 1, groups=4)
        self.gn = nn.GroupNorm(2, 4)
        self.inorm = nn.InstanceNorm2d(4, affine=True)
        self.ln = nn.LayerNorm(4)
        self.block = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4, bias=False))
        self.head = nn.Linear(4, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3)
        self.b = nn.Linear(3, 3)
        self.b.weight = self.a.weight


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def batches(n: int = N_LOSSES) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(4, 5, generator=generator) for _ in range(n)]


def groups_of(optim, model, paramwise_cfg, optimizer, constructor="DefaultOptimWrapperConstructor"):
    """The groups by the names of their parameters, and what the wrapper says of them."""
    names = {id(p): name for name, p in model.named_parameters()}
    cfg = {"optimizer": optimizer, "constructor": constructor, "paramwise_cfg": paramwise_cfg}
    wrapper = optim.build_optim_wrapper(model, cfg)
    groups = [{**g, "params": [names[id(p)] for p in g["params"]]} for g in wrapper.optimizer.param_groups]
    base = wrapper.base_param_settings
    base = None if base is None else {key: value for key, value in base.items() if key != "params"}
    return groups, wrapper.get_lr(), wrapper.get_momentum(), base


SGD = {"type": "SGD", "lr": 0.1, "weight_decay": 0.01, "momentum": 0.9}


@pytest.mark.parametrize(
    "paramwise_cfg",
    [
        None,
        {},
        {"norm_decay_mult": 0.0},
        {"bias_lr_mult": 2.0},
        {"bias_decay_mult": 0.0},
        {"dwconv_decay_mult": 0.1},
        {"flat_decay_mult": 0.3},
        {"dcn_offset_lr_mult": 0.1},
        {"norm_decay_mult": 0.5, "bias_decay_mult": 0.2, "dwconv_decay_mult": 0.1, "flat_decay_mult": 0.3},
        {"norm_decay_mult": None, "bias_decay_mult": 0.2, "bias_lr_mult": 3},
        {"custom_keys": {"head": {"lr_mult": 10.0}, "block": {"lr_mult": 0.1, "decay_mult": 0.5}}},
        {"custom_keys": {"block": {"lr_mult": 0.1}, "block.0": {"decay_mult": 0.0}, "block.1": {"lr_mult": 5}}},
        {"custom_keys": {"conv": {"momentum": 0.5}, ".scale": {"lr_mult": 7}}, "bias_lr_mult": 2},
        {"custom_keys": {"ead": {"lr_mult": 2}, "hea": {"lr_mult": 3}}, "norm_decay_mult": 0},
        {"bypass_duplicate": True},
    ],
)
@pytest.mark.parametrize("optimizer", [SGD, {"type": "AdamW", "lr": 0.01, "weight_decay": 0.05, "betas": (0.8, 0.9)}])
def test_groups(theirs, paramwise_cfg, optimizer):
    if optimizer["type"] == "AdamW" and paramwise_cfg and "momentum" in str(paramwise_cfg):
        paramwise_cfg = {"custom_keys": {"conv": {"eps": 0.5}}}
    assert groups_of(ours, Net(), paramwise_cfg, optimizer) == groups_of(theirs, Net(), paramwise_cfg, optimizer)


def test_a_shared_parameter_is_taken_once(theirs):
    cfg = {"bypass_duplicate": True, "bias_lr_mult": 2}
    assert groups_of(ours, Shared(), cfg, SGD) == groups_of(theirs, Shared(), cfg, SGD)


def test_a_subclass_of_the_constructor_is_used_alike(theirs):
    """As projects write them: `add_params` of their own, with a key of their own."""

    def make(base):
        class ByDepth(base):
            def add_params(self, params, module, prefix="", is_dcn_module=None, **kwargs):
                rate = self.paramwise_cfg["my_rate"]
                for depth, (_, p) in enumerate(module.named_parameters()):
                    group = {"params": [p], "lr": self.base_lr * rate**depth, "weight_decay": self.base_wd}
                    if not self._is_in(group, params):
                        params.append(group)

        return ByDepth

    cfg = {"my_rate": 0.5, "custom_keys": {}}
    found = [groups_of(o, mlp(), cfg, SGD, make(o.DefaultOptimWrapperConstructor)) for o in (ours, theirs)]
    assert found[0] == found[1]


def train(wrapper, model, data):
    for batch in data:
        with wrapper.optim_context(model):
            loss = model(batch).float().square().mean()
        wrapper.update_params(loss)


def weights(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def same_tree(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same_tree(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same_tree, a, b))
    return bool(a == b)


def pair(theirs, name="OptimWrapper", optimizer="SGD", settings=None, **kwargs):
    """(our wrapper, our model), (their wrapper, their model), with settings that nobody else holds."""
    made = []
    for optim in (ours, theirs):
        model = mlp()
        step = getattr(torch.optim, optimizer)(model.parameters(), **(settings or {"lr": 0.1}))
        made.append((getattr(optim, name)(optimizer=step, **copy.deepcopy(kwargs)), model))
    return made


@pytest.mark.parametrize("counts", [1, 2, 3, 4, 5, 7, 8])
@pytest.mark.parametrize(
    "clip_grad", [None, {"max_norm": 0.05}, {"max_norm": 0.1, "norm_type": 1}, {"type": "value", "clip_value": 0.01}]
)
def test_training(theirs, counts, clip_grad):
    made = pair(
        theirs,
        settings={"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
        accumulative_counts=counts,
        clip_grad=clip_grad,
    )
    for wrapper, model in made:
        wrapper.initialize_count_status(model, 0, N_LOSSES)
        train(wrapper, model, batches())
    (mine, model), (peer, other) = made
    assert torch.equal(weights(model), weights(other))
    assert (mine._inner_count, mine._max_counts, mine.inner_count) == (
        peer._inner_count,
        peer._max_counts,
        peer.inner_count,
    )
    assert same_tree(mine.state_dict(), peer.state_dict())
    assert mine.clip_grad_kwargs == peer.clip_grad_kwargs
    if clip_grad is not None:
        assert (mine.clip_func, mine.grad_name) == (peer.clip_func, peer.grad_name)


def test_when_to_update_and_to_sync(theirs):
    for n in range(1, 13):
        seen = []
        for wrapper, model in pair(theirs, accumulative_counts=5):
            wrapper.initialize_count_status(model, 0, n)
            rows = []
            for _ in range(n):
                row = [wrapper.should_sync(), wrapper.scale_loss(torch.ones(())).item()]
                wrapper._inner_count += 1
                rows.append([*row, wrapper.should_update()])
            seen.append(rows)
        assert seen[0] == seen[1]


def test_the_gradient_norm_has_the_same_name_and_value(theirs):
    from mmengine.logging import MessageHub as TheirHub

    hubs = MessageHub.get_current_instance(), TheirHub.get_current_instance()
    made = pair(theirs, clip_grad={"max_norm": 0.05})
    for (wrapper, model), hub in zip(made, hubs, strict=True):
        assert wrapper.message_hub is hub
        train(wrapper, model, batches(3))
    try:
        histories = [hub.get_scalar("train/grad_norm").data[0] for hub in hubs]
        assert list(histories[0][-3:]) == pytest.approx(list(histories[1][-3:]), rel=0, abs=0)
    finally:
        hubs[0].log_scalars.pop("train/grad_norm")
        hubs[1].log_scalars.pop("train/grad_norm")


def test_keyword_arguments_of_step_and_zero_grad(theirs):
    grads = []
    for wrapper, model in pair(theirs):
        wrapper.update_params(model(batches(1)[0]).sum(), zero_kwargs={"set_to_none": False})
        grads.append([p.grad for p in model.parameters()])
    assert same_tree(grads[0], grads[1])
    losses = []
    for wrapper, model in pair(theirs, optimizer="LBFGS", settings={"lr": 0.1, "max_iter": 3}):

        def closure(wrapper=wrapper, model=model):
            wrapper.zero_grad()
            loss = model(batches(1)[0]).square().mean()
            loss.backward()
            return loss

        wrapper.update_params(model(batches(1)[0]).square().mean(), step_kwargs={"closure": closure})
        losses.append(weights(model))
    assert torch.equal(*losses)


@pytest.mark.parametrize("many", [False, True])
def test_states_are_read_by_either(theirs, many):
    def build(optim, lr):
        model = mlp()
        params = [{"params": [p]} for p in model.parameters()] if many else model.parameters()
        return optim.OptimWrapper(torch.optim.AdamW(params, lr=lr)), model

    for a, b in ((ours, theirs), (theirs, ours)):
        wrapper, model = build(a, 0.3)
        train(wrapper, model, batches(2))
        other, _ = build(b, 0.7)
        other.load_state_dict(copy.deepcopy(wrapper.state_dict()))
        assert other.get_lr() == wrapper.get_lr()
        assert same_tree(other.optimizer.state_dict(), wrapper.optimizer.state_dict())
        assert len(other.param_groups) == len(wrapper.param_groups)


@pytest.fixture
def on_cpu(theirs, monkeypatch):
    """MMEngine's AmpOptimWrapper asks for a GPU; its arithmetic does not."""
    from mmengine.optim.optimizer import amp_optimizer_wrapper as module

    monkeypatch.setattr(module, "is_cuda_available", lambda: True)
    monkeypatch.setattr(module, "GradScaler", partial(torch.amp.GradScaler, "cpu"))
    # Its autocast refuses float16 on a CPU, as torch did once.
    monkeypatch.setattr("mmengine.runner.amp.autocast", lambda dtype: torch.autocast("cpu", dtype=dtype))
    return theirs


@pytest.mark.parametrize("counts", [1, 4])
@pytest.mark.parametrize("clip_grad", [None, {"max_norm": 0.05}])
@pytest.mark.parametrize(
    ("dtype", "loss_scale"),
    [
        ("bfloat16", 1.0),
        ("bfloat16", {"init_scale": 1024.0}),
        ("float16", {"init_scale": 256.0, "growth_interval": 2}),
        ("float16", 512.0),
        ("float16", "dynamic"),
        (None, {"init_scale": 64.0}),
    ],
)
def test_mixed_precision(on_cpu, counts, clip_grad, dtype, loss_scale):
    made = pair(
        on_cpu, "AmpOptimWrapper", dtype=dtype, loss_scale=loss_scale, accumulative_counts=counts, clip_grad=clip_grad
    )
    for wrapper, model in made:
        wrapper.initialize_count_status(model, 0, N_LOSSES)
        train(wrapper, model, batches())
    (mine, model), (peer, other) = made
    assert torch.equal(weights(model), weights(other))
    assert mine.loss_scaler.get_scale() == peer.loss_scaler.get_scale()
    assert (mine.cast_dtype, mine._scale_update_param) == (peer.cast_dtype, peer._scale_update_param)
    assert same_tree(mine.state_dict(), peer.state_dict())
    for target, source in ((mine, peer), (peer, mine)):
        target.load_state_dict(copy.deepcopy(source.state_dict()))


def test_bfloat16_dynamic_is_theirs_without_scaling(on_cpu):
    made = pair(on_cpu, "AmpOptimWrapper", dtype="bfloat16")
    for wrapper, model in made:
        train(wrapper, model, batches())
    (mine, model), (peer, other) = made
    assert not mine.loss_scaler.is_enabled()
    assert peer.loss_scaler.get_scale() == 65536.0
    torch.testing.assert_close(weights(model), weights(other), rtol=0, atol=1e-6)


def test_several_optimizers(theirs):
    said = []
    for optim in (ours, theirs):
        a, b = mlp(), mlp()
        wrapper = optim.OptimWrapperDict(
            a=optim.OptimWrapper(torch.optim.SGD([{"params": [p]} for p in a.parameters()], lr=0.1, momentum=0.8)),
            b=optim.OptimWrapper(torch.optim.AdamW(b.parameters(), lr=0.2), accumulative_counts=2),
        )
        for n, batch in enumerate(batches(5)):
            if n % 2:
                wrapper["a"].update_params(a(batch).square().mean())
            wrapper["b"].update_params(b(batch).square().mean())
        held = [p.grad is None for p in b.parameters()]
        wrapper.zero_grad()
        groups = {
            n: [{k: v for k, v in g.items() if k != "params"} for g in gs] for n, gs in wrapper.param_groups.items()
        }
        state = copy.deepcopy(wrapper.state_dict())
        state["a"]["base_param_settings"].pop("params")
        said.append(
            [
                list(wrapper.keys()),
                [type(w).__name__ for w in wrapper.values()],
                [name for name, _ in wrapper.items()],
                len(wrapper),
                "a" in wrapper,
                "c" in wrapper,
                wrapper.get_lr(),
                wrapper.get_momentum(),
                groups,
                state,
                held,
                [p.grad is None for p in b.parameters()],
                weights(a),
                weights(b),
            ]
        )
        with pytest.raises(NotImplementedError):
            wrapper.update_params(torch.ones(()))
        with pytest.raises(NotImplementedError):
            wrapper.step()
        with pytest.raises(NotImplementedError):
            wrapper.backward(torch.ones(()))
        wrapper.initialize_count_status(a, 0, 10)
    assert same_tree(said[0], said[1])


def test_names_of_optimizers(theirs):
    for name in ours.TORCH_OPTIMIZERS:
        assert OPTIMIZERS.get(name) is theirs.OPTIMIZERS.get(name)
    from mmengine.optim.optimizer.builder import TORCH_OPTIMIZERS

    known = {"TorchAdafactor" if name == "Adafactor" else name for name in TORCH_OPTIMIZERS} - {"Optimizer"}
    assert known == set(ours.TORCH_OPTIMIZERS)


def _zero(optim_name: str):
    import importlib

    optim = importlib.import_module(f"{optim_name}.optim")
    registry = importlib.import_module(f"{optim_name}.registry").OPTIMIZERS
    model = mlp()
    params = [{"params": [p], "lr": 0.1 / (n + 1)} for n, p in enumerate(model.parameters())]
    optimizer = registry.build(
        {"type": "ZeroRedundancyOptimizer", "optimizer_type": "AdamW", "params": params, "weight_decay": 0.1, "lr": 0.1}
    )
    wrapper = optim.OptimWrapper(optimizer, clip_grad={"max_norm": 0.1})
    train(wrapper, model, batches(4))
    state = wrapper.state_dict()
    moments = {n: {key: value.tolist() for key, value in part.items()} for n, part in state.get("state", {}).items()}
    return weights(model).tolist(), moments, state.get("param_groups"), sorted(state)


def test_states_shared_out_among_ranks(theirs):
    mine, peers = run_ranks(2, _zero, "trainwright"), run_ranks(2, _zero, "mmengine")
    assert mine == peers
    assert [len(moments) for _, moments, _, _ in mine] == [4, 0]


class FakeAmp:
    """Stands for apex.amp: scales by 8, and remembers what it was given."""

    def __init__(self) -> None:
        self.calls: list = []
        self.loaded = None

    def initialize(self, model, optimizer, **kwargs):
        self.calls.append((type(model).__name__, kwargs))
        optimizer._amp_stash = object()
        return model, optimizer

    def scale_loss(self, loss, optimizer):
        from contextlib import contextmanager

        @contextmanager
        def scaled():
            yield loss * 8
            for group in optimizer.param_groups:
                for p in group["params"]:
                    p.grad.div_(8)

        return scaled()

    def state_dict(self):
        return {"loss_scaler0": {"loss_scale": 8.0, "unskipped": 1}}

    def load_state_dict(self, state):
        self.loaded = state


def test_apex(theirs, monkeypatch):
    import sys
    from types import ModuleType

    from mmengine.optim.optimizer import apex_optimizer_wrapper as module

    amps = FakeAmp(), FakeAmp()
    apex = ModuleType("apex")
    apex.amp = amps[0]
    monkeypatch.setitem(sys.modules, "apex", apex)
    monkeypatch.setitem(sys.modules, "apex.amp", amps[0])
    monkeypatch.setattr(module, "apex_amp", amps[1])
    made = pair(theirs, "ApexOptimWrapper", opt_level="O2", loss_scale=8.0, num_losses=2)
    for wrapper, model in made:
        wrapper.load_state_dict({**wrapper.state_dict(), "apex_amp": {"x": 1}})
        train(wrapper, model, batches(3))
    (mine, model), (peer, other) = made
    assert amps[0].calls == amps[1].calls
    assert amps[0].loaded == amps[1].loaded == {"x": 1}
    assert torch.equal(weights(model), weights(other))
    assert same_tree(mine.state_dict(), peer.state_dict())
