"""ZeroRedundancyOptimizer in real gloo ranks."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from trainwright import optim
from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.optim import OptimWrapper, build_optim_wrapper
from trainwright.registry import OPTIMIZERS
from trainwright.testing.ranks import run_ranks

ADAM = {"lr": 0.1, "weight_decay": 0.1}


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def train(wrapper, model, n: int) -> None:
    for k in range(n):
        wrapper.update_params(model(torch.full((2, 5), float(k + 1))).square().mean())


def make(model):
    cfg = {"type": "ZeroRedundancyOptimizer", "optimizer_type": "AdamW", **ADAM}
    return build_optim_wrapper(model, {"optimizer": cfg, "paramwise_cfg": {"bias_lr_mult": 2}})


def weights(model) -> list[float]:
    return nn.utils.parameters_to_vector(model.parameters()).tolist()


def plain(steps: int) -> list[float]:
    model = mlp()
    groups = [{"params": [p], "lr": 0.2 if name.endswith("bias") else 0.1} for name, p in model.named_parameters()]
    train(OptimWrapper(torch.optim.AdamW(groups, **ADAM)), model, steps)
    return weights(model)


def share(steps):
    model = mlp()
    wrapper = make(model)
    train(wrapper, model, steps)
    held = sum(len(state) > 0 for state in wrapper.optimizer.optim.state.values())
    state = wrapper.state_dict()
    return weights(model), held, sorted(state), len(state.get("state", ())), wrapper.get_lr()


def test_the_states_are_shared_out_and_the_result_is_that_of_the_optimizer():
    found = run_ranks(2, share, 3)
    assert [one[0] for one in found] == [plain(3)] * 2
    assert sum(one[1] for one in found) == 4
    assert all(one[1] < 4 for one in found)
    keys = ["base_param_settings", "param_groups", "state"]
    assert [one[2:4] for one in found] == [(keys, 4), (keys[:1], 0)]
    assert found[0][4] == {"base_lr": [0.1], "lr": [0.1, 0.2, 0.1, 0.2]}


def stop_and_go_on(path):
    model = mlp()
    wrapper = make(model)
    train(wrapper, model, 2)
    state = wrapper.state_dict()
    if torch.distributed.get_rank() == 0:
        torch.save(state, path)
    torch.distributed.barrier()
    again = mlp()
    again.load_state_dict(model.state_dict())
    resumed = make(again)
    resumed.load_state_dict(torch.load(path, weights_only=True))
    train(wrapper, model, 3)
    train(resumed, again, 3)
    return weights(model) == weights(again)


def test_what_rank_0_saves_is_resumed_by_all(tmp_path):
    assert run_ranks(2, stop_and_go_on, str(tmp_path / "state.pth")) == [True, True]


def refusal(kind):
    cfg = {"type": "ZeroRedundancyOptimizer", "optimizer_type": kind, "params": mlp().parameters(), "lr": 0.1}
    with pytest.raises((ConfigTypeError, KeyError)) as info:
        OPTIMIZERS.build(cfg)
    return str(info.value)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("Admw", "Admw is not in the trainwright::optimizer registry"),
        (3, "optimizer_type must be an optimizer's name, such as 'AdamW', or its class, got 3"),
        ("ZeroRedundancyOptimizer", "or its class, got 'ZeroRedundancyOptimizer'"),
    ],
)
def test_bad_types(kind, message):
    assert message in run_ranks(1, refusal, kind)[0]


def test_it_is_imported_when_it_is_asked_for():
    assert optim.ZeroRedundancyOptimizer is OPTIMIZERS.get("ZeroRedundancyOptimizer")
    with pytest.raises(AttributeError, match=r"module 'trainwright\.optim' has no attribute 'ZeroRedundancyOptimiser'"):
        _ = optim.ZeroRedundancyOptimiser


def test_without_a_process_group():
    message = (
        "ZeroRedundancyOptimizer shares the optimizer's state out among ranks, and there is no process group: start "
        "the run with a launcher, or use type='AdamW' itself"
    )
    with pytest.raises(ConfigError, match=re.escape(message)):
        make(mlp())
