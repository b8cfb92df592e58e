"""OptimWrapper against plain PyTorch, and what it says when it refuses."""

from __future__ import annotations

import copy
import re
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.logs import MMLogger
from trainwright.optim import BaseOptimWrapper, OptimWrapper
from trainwright.optim.wrapper import NOTHING

N_LOSSES = 11


@pytest.fixture
def log():
    with MMLogger("optim-wrapper-test").as_current() as logger:
        yield logger


def make_model(seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).to(dtype)


def make_batches(n: int = N_LOSSES, size: int = 4, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, 5, generator=generator, dtype=torch.float64).to(dtype) for _ in range(n)]


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def weights(model: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def train(model: nn.Module, wrapper: OptimWrapper, batches: list[torch.Tensor]) -> None:
    for batch in batches:
        with wrapper.optim_context(model):
            loss = model(batch).square().mean()
        wrapper.update_params(loss)


class HostReads(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_update_params_is_backward_step_zero_grad():
    model = make_model()
    plain = copy.deepcopy(model)
    train(model, OptimWrapper(sgd(model)), make_batches())
    optimizer = sgd(plain)
    for batch in make_batches():
        plain(batch).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert torch.equal(weights(model), weights(plain))
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("counts", range(1, 9))
def test_accumulation_equals_one_big_batch_for_any_remainder(counts):
    model, batches = make_model(), make_batches()
    plain = copy.deepcopy(model)
    wrapper = OptimWrapper(sgd(model), accumulative_counts=counts)
    wrapper.initialize_count_status(model, 0, N_LOSSES)
    train(model, wrapper, batches)
    optimizer = sgd(plain)
    for start in range(0, N_LOSSES, counts):
        plain(torch.cat(batches[start : start + counts])).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.testing.assert_close(weights(model), weights(plain), rtol=0, atol=1e-12)
    assert wrapper.inner_count == N_LOSSES


@pytest.mark.parametrize("resumed_at", [4, 8])
def test_a_resume_at_a_window_boundary_changes_nothing(resumed_at):
    model, batches = make_model(), make_batches()
    wrapper = OptimWrapper(sgd(model), accumulative_counts=4)
    wrapper.initialize_count_status(model, 0, N_LOSSES)
    train(model, wrapper, batches[:resumed_at])
    saved_model, saved = copy.deepcopy(model.state_dict()), copy.deepcopy(wrapper.state_dict())
    train(model, wrapper, batches[resumed_at:])

    again = make_model(seed=5)
    resumed = OptimWrapper(sgd(again), accumulative_counts=4)
    again.load_state_dict(saved_model)
    resumed.load_state_dict(saved)
    resumed.initialize_count_status(again, resumed_at, N_LOSSES)
    train(again, resumed, batches[resumed_at:])
    assert torch.equal(weights(again), weights(model))


def test_a_resume_inside_a_window_averages_what_is_left_of_it(log, capsys):
    model, batches = make_model(), make_batches()
    plain = copy.deepcopy(model)
    wrapper = OptimWrapper(sgd(model), accumulative_counts=4)
    wrapper.initialize_count_status(model, 5, N_LOSSES)
    assert (
        "the gradients of the 1 loss(es) before it were not saved: the next step averages the 3 that follow"
        in re.sub(r"\s+", " ", capsys.readouterr().err)
    )
    train(model, wrapper, batches[5:])
    optimizer = sgd(plain)
    for window in (batches[5:8], batches[8:]):
        plain(torch.cat(window)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.testing.assert_close(weights(model), weights(plain), rtol=0, atol=1e-12)


def test_counting_goes_on_inside_a_window_whose_gradients_are_held():
    model, batches = make_model(), make_batches()
    whole = copy.deepcopy(model)
    wrapper = OptimWrapper(sgd(model), accumulative_counts=4)
    wrapper.initialize_count_status(model, 0, N_LOSSES)
    train(model, wrapper, batches[:6])
    state = wrapper.accumulation_state()
    assert state == {"inner_count": 6}
    wrapper.initialize_count_status(model, 0, N_LOSSES)
    wrapper.load_accumulation_state(state)
    train(model, wrapper, batches[6:])
    reference = OptimWrapper(sgd(whole), accumulative_counts=4)
    reference.initialize_count_status(whole, 0, N_LOSSES)
    train(whole, reference, batches)
    assert torch.equal(weights(model), weights(whole))


def test_windows_before_at_and_beyond_the_announced_end():
    model = make_model()
    wrapper = OptimWrapper(sgd(model), accumulative_counts=4)
    wrapper.initialize_count_status(model, 0, 6)
    lengths, updates, syncs = [], [], []
    for _ in range(9):
        lengths.append(round(1 / wrapper.scale_loss(torch.ones(())).item()))
        syncs.append(wrapper.should_sync())
        wrapper._inner_count += 1
        updates.append(wrapper.should_update())
    assert lengths == [4, 4, 4, 4, 2, 2, 2, 2, 4]  # 6 and 7 fill the window that the end at 6 cut short
    assert updates == syncs == [False, False, False, True, False, True, False, True, False]


def test_without_announced_length_every_window_is_full():
    wrapper = OptimWrapper(sgd(make_model()), accumulative_counts=3)
    assert wrapper._max_counts == -1
    assert wrapper.scale_loss(torch.tensor(3.0)).item() == 1.0


@pytest.mark.parametrize(
    ("clip_grad", "clip"),
    [
        ({"max_norm": 0.05}, lambda p: nn.utils.clip_grad_norm_(p, 0.05)),
        ({"max_norm": 0.05, "norm_type": "inf"}, lambda p: nn.utils.clip_grad_norm_(p, 0.05, norm_type="inf")),
        ({"type": "value", "clip_value": 0.01}, lambda p: nn.utils.clip_grad_value_(p, 0.01)),
    ],
)
def test_clipping_equals_torch(clip_grad, clip):
    model = make_model()
    plain = copy.deepcopy(model)
    norms: list[torch.Tensor] = []
    wrapper = OptimWrapper(sgd(model), clip_grad=clip_grad)
    wrapper.on_grad_norm = norms.append
    train(model, wrapper, make_batches())
    optimizer, expected = sgd(plain), []
    for batch in make_batches():
        plain(batch).square().mean().backward()
        expected.append(clip(plain.parameters()))
        optimizer.step()
        optimizer.zero_grad()
    assert torch.equal(weights(model), weights(plain))
    if clip_grad.get("type") == "value":
        assert wrapper.grad_name == "grad_value"
        assert norms == []
    else:
        assert wrapper.grad_name == "grad_norm"
        assert torch.equal(torch.stack(norms), torch.stack(expected))


def test_nothing_is_read_by_the_host():
    model = make_model()
    wrapper = OptimWrapper(sgd(model), accumulative_counts=2, clip_grad={"max_norm": 0.05})
    wrapper.on_grad_norm = [].append
    wrapper.initialize_count_status(model, 0, N_LOSSES)
    with HostReads() as reads:
        train(model, wrapper, make_batches())
    assert reads.count == 0


def test_nothing_is_clipped_where_there_is_no_gradient():
    calls = []
    wrapper = OptimWrapper(
        sgd(make_model()), clip_grad={"max_norm": 1.0}, clip_grads=lambda p, **cfg: calls.append(cfg)
    )
    wrapper.step()
    assert calls == []


def test_a_strategy_supplies_clipping_and_sync():
    model, batches = make_model(), make_batches()
    clips, syncs, norms = [], [], []

    def clip_grads(params, **options):
        clips.append((len(params), options))
        return torch.tensor(2.0)

    def grad_sync(on):
        syncs.append(on)
        return nullcontext()

    wrapper = OptimWrapper(sgd(model), 2, {"max_norm": 1.0, "norm_type": 1}, grad_sync=grad_sync, clip_grads=clip_grads)
    wrapper.on_grad_norm = norms.append
    wrapper.initialize_count_status(model, 0, N_LOSSES)
    train(model, wrapper, batches)
    assert clips == [(4, {"type": "norm", "max_norm": 1.0, "norm_type": 1})] * 6
    assert norms == [torch.tensor(2.0)] * 6
    assert syncs == [False, True] * 5 + [True]


def test_without_a_strategy_no_sync_of_the_model_is_used():
    model = make_model()
    entered = []

    class Marks:
        def __enter__(self):
            entered.append(True)

        def __exit__(self, *exc):
            return None

    model.no_sync = Marks
    wrapper = OptimWrapper(sgd(model), accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, N_LOSSES)
    train(model, wrapper, make_batches())
    assert len(entered) == 5


def test_the_context_is_one_shared_object_when_nothing_is_to_do():
    model = make_model()
    assert OptimWrapper(sgd(model)).optim_context(model) is NOTHING
    assert OptimWrapper(sgd(model), accumulative_counts=2).optim_context(model) is NOTHING


def test_overridden_methods_are_called():
    calls = []

    class Mine(OptimWrapper):
        def scale_loss(self, loss):
            calls.append("scale_loss")
            return super().scale_loss(loss)

        def backward(self, loss, **kwargs):
            calls.append("backward")
            super().backward(loss, **kwargs)

        def step(self, **kwargs):
            calls.append(f"step {kwargs}")
            super().step()

        def zero_grad(self, **kwargs):
            calls.append(f"zero_grad {kwargs}")
            super().zero_grad(**kwargs)

    model = make_model()
    Mine(sgd(model)).update_params(model(make_batches()[0]).sum(), {"a": 1}, {"set_to_none": False})
    assert calls == ["scale_loss", "backward", "step {'a': 1}", "zero_grad {'set_to_none': False}"]
    assert all(torch.count_nonzero(p.grad) == 0 for p in model.parameters())


def test_values_and_groups():
    model = make_model()
    one = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.8))
    assert one.get_lr() == {"lr": [0.1]}
    assert one.get_momentum() == {"momentum": [0.8]}
    assert one.param_groups is one.optimizer.param_groups
    assert one.defaults is one.optimizer.defaults

    groups = [{"params": model[0].parameters(), "lr": 0.01}, {"params": model[2].parameters()}]
    two = OptimWrapper(torch.optim.AdamW(groups, lr=0.1, betas=(0.7, 0.99)))
    assert two.get_lr() == {"base_lr": [0.1], "lr": [0.01, 0.1]}
    assert two.get_momentum() == {"momentum": [0.7, 0.7]}
    assert [group["lr"] for group in two.param_groups] == [0.01, 0.1, 0.1]
    assert OptimWrapper(torch.optim.Adagrad(model.parameters())).get_momentum() == {"momentum": [0]}


def test_state_has_the_layout_of_an_optimizer(tmp_path):
    model = make_model()
    wrapper = OptimWrapper(sgd(model))
    train(model, wrapper, make_batches(3))
    plain = sgd(model)
    plain.load_state_dict(wrapper.state_dict())
    other = OptimWrapper(sgd(model))
    other.load_state_dict(plain.state_dict())
    torch.save(wrapper.state_dict(), tmp_path / "state.pth")
    read = torch.load(tmp_path / "state.pth", weights_only=True)
    assert list(read) == list(plain.state_dict()) == list(other.state_dict()) == ["state", "param_groups"]
    assert torch.equal(other.optimizer.state[model[0].weight]["momentum_buffer"], read["state"][0]["momentum_buffer"])


def test_state_keeps_the_base_settings_of_several_groups():
    model = make_model()

    def build():
        return OptimWrapper(torch.optim.SGD([{"params": [p]} for p in model.parameters()], lr=0.1))

    wrapper, fresh = build(), build()
    wrapper.param_groups[-1]["lr"] = 0.05
    state = wrapper.state_dict()
    fresh.load_state_dict(state)
    assert "base_param_settings" in state  # the argument is left as it is
    assert fresh.get_lr()["base_lr"] == [0.05]
    wrapper.param_groups[-1]["lr"] = 0.01
    assert (fresh.get_lr()["base_lr"], state["base_param_settings"]["lr"]) == ([0.05], 0.05)  # a copy, not a view


def test_batch_norm_with_accumulation_is_remarked_on(log, capsys):
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    OptimWrapper(sgd(model), accumulative_counts=2).initialize_count_status(model, 0, 10)
    assert "with batch norm and accumulative_counts=2 statistics" in capsys.readouterr().err
    OptimWrapper(sgd(model)).initialize_count_status(model, 3, 10)
    assert capsys.readouterr().err == ""


def test_repr_names_type_window_and_optimizer():
    text = repr(OptimWrapper(sgd(make_model()), accumulative_counts=3))
    assert text.startswith("Type: OptimWrapper\n_accumulative_counts: 3\noptimizer: \nSGD (")


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        BaseOptimWrapper(sgd(make_model()))


@pytest.mark.parametrize("counts", [0, -1, 1.5, True, "2"])
def test_bad_accumulative_counts(counts):
    message = f"accumulative_counts must be a whole number of at least 1, got {counts!r}; 1 updates the parameters in"
    with pytest.raises(ConfigError, match=re.escape(message)):
        OptimWrapper(sgd(make_model()), accumulative_counts=counts)


@pytest.mark.parametrize(
    ("clip_grad", "message"),
    [
        ({}, "If `clip_grad` is not None it must be a dict with settings, got {}; for instance dict(max_norm=1.0)"),
        (1.0, "it must be a dict with settings, got 1.0"),
        (
            {"type": "norms", "max_norm": 1},
            "type of clip_grad should be \"norm\" or \"value\" but got 'norms'. Did you mean 'norm'?",
        ),
        ({"max_nrom": 1.0}, "clip_grad has no setting 'max_nrom' when type is 'norm': it takes max_norm, norm_type, "),
        ({"max_nrom": 1.0}, "Did you mean 'max_norm'"),
        ({"type": "value", "max_norm": 1.0}, "no setting 'max_norm' when type is 'value': it takes clip_value"),
        (
            {"norm_type": 2},
            "clip_grad of type 'norm' needs max_norm, a number above 0, got None; for instance dict(type",
        ),
        ({"max_norm": -1}, "needs max_norm, a number above 0, got -1"),
        ({"type": "value", "clip_value": "1"}, "needs clip_value, a number above 0, got '1'"),
    ],
)
def test_bad_clip_grad(clip_grad, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        OptimWrapper(sgd(make_model()), clip_grad=clip_grad)


def test_bad_optimizer():
    message = (
        "optimizer must be a torch.optim.Optimizer, got {'type': 'SGD'} of type dict; in a config write optim_wrapper="
    )
    with pytest.raises(ConfigTypeError, match=re.escape(message)):
        OptimWrapper({"type": "SGD"})


# a loss that is left out ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left_out", [0, 1, 3, 4, 10])
def test_a_loss_left_out_has_no_gradient_and_its_place_in_the_window(left_out):
    model, batches = make_model(), make_batches()
    other = copy.deepcopy(model)
    wrapper, reference = (OptimWrapper(sgd(m), accumulative_counts=4) for m in (model, other))
    for one, m in ((wrapper, model), (reference, other)):
        one.initialize_count_status(m, 0, N_LOSSES)
    for n, batch in enumerate(batches):
        if n == left_out:
            wrapper.skip_loss()
            reference._inner_count += 1
            if reference.should_update():
                reference.step()
                reference.zero_grad()
        else:
            train(model, wrapper, [batch])
            train(other, reference, [batch])
    assert wrapper.inner_count == N_LOSSES
    assert torch.equal(weights(model), weights(other))


def test_without_any_gradient_there_is_no_step():
    model = make_model()
    wrapper = OptimWrapper(sgd(model))
    before = weights(model).clone()
    train(model, wrapper, make_batches(1))
    after = weights(model).clone()
    assert not torch.equal(before, after)
    steps = []
    wrapper.before_step(lambda: steps.append(1))
    wrapper.skip_loss()  # momentum would move the weights
    assert not steps
    assert torch.equal(weights(model), after)


def test_the_beginning_of_a_window_that_was_lost_is_kept(log):
    model = make_model()
    wrapper = OptimWrapper(sgd(model), accumulative_counts=4)
    wrapper.initialize_count_status(model, 2, N_LOSSES)  # without the gradients of two losses
    state = wrapper.accumulation_state()
    assert state == {"inner_count": 2, "first_count": 2}
    other = OptimWrapper(sgd(model), accumulative_counts=4)
    other.initialize_count_status(model, 0, N_LOSSES)
    other.load_accumulation_state({**state, "inner_count": 3})
    assert other.scale_loss(torch.ones(())).item() == 0.5
