"""autocast, seeds, intervals, priorities, batches without end, activation checkpointing, FSDP's wrapper."""

import random
from unittest import mock

import numpy as np
import pytest
import torch
from mme_runner_toys import Rows
from torch import nn
from torch.utils.data import DataLoader

pytestmark = pytest.mark.usefixtures("mmengine")


def dtype_in(context):
    with context:
        return nn.Conv2d(1, 1, 1)(torch.ones(1, 1, 1, 1)).dtype


def test_autocast_on_a_cpu():
    from mmengine.runner import autocast

    assert dtype_in(autocast(device_type="cpu")) == torch.bfloat16
    with autocast(device_type="cpu"):
        assert dtype_in(autocast(device_type="cpu", enabled=False)) == torch.float32
    with pytest.raises(AssertionError), autocast(device_type="cpu", dtype=torch.float16):
        pass


def test_autocast_where_there_is_none():
    from mmengine.runner import autocast

    with mock.patch("mmengine.runner.amp.get_device", return_value="mps"):
        assert dtype_in(autocast(enabled=False)) == torch.float32
        with pytest.raises(ValueError, match="User specified autocast device_type must be"), autocast():
            pass


def test_seeds():
    from mmengine.runner import set_random_seed

    def drawn():
        return random.random(), np.random.rand(), torch.rand(()).item()

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        assert set_random_seed(7) == 7
        first = drawn()
        set_random_seed(7, diff_rank_seed=True)
        assert drawn() == first
        assert isinstance(set_random_seed(None), int)
        set_random_seed(7, deterministic=True)
        assert torch.backends.cudnn.deterministic
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False
        random.setstate(states[0]), np.random.set_state(states[1]), torch.set_rng_state(states[2])


def test_intervals_and_batch_sizes():
    from mmengine.runner.utils import _get_batch_size, calc_dynamic_intervals

    assert calc_dynamic_intervals(3) == ([0], [3])
    assert calc_dynamic_intervals(3, [(5, 2), (9, 1)]) == ([0, 5, 9], [3, 2, 1])
    with pytest.raises(AssertionError):
        calc_dynamic_intervals(3, [5])
    assert _get_batch_size({"batch_size": 4}) == 4
    assert _get_batch_size({"batch_sampler": {"batch_size": 5}}) == 5
    assert _get_batch_size(DataLoader(Rows(), batch_size=6)) == 6
    for wrong in ({}, 3):
        with pytest.raises(ValueError, match="atch_size|ataloader"):
            _get_batch_size(wrong)


def test_priorities():
    from mmengine.runner import Priority, get_priority

    values = {"HIGHEST": 0, "VERY_HIGH": 10, "HIGH": 30, "ABOVE_NORMAL": 40, "NORMAL": 50}
    values |= {"BELOW_NORMAL": 60, "LOW": 70, "VERY_LOW": 90, "LOWEST": 100}
    for name, value in values.items():
        assert get_priority(name) == get_priority(Priority[name]) == get_priority(value) == value
    for wrong in (-1, 101):
        with pytest.raises(ValueError, match="priority must be between 0 and 100"):
            get_priority(wrong)
    with pytest.raises(TypeError, match="priority must be an integer or Priority enum value"):
        get_priority([1])
    with pytest.raises(KeyError):
        get_priority("x")


def test_losses_of_an_evaluation():
    from mmengine.runner.loops import _parse_losses, _update_losses
    from mmengine.structures import BaseDataElement

    element = BaseDataElement(loss={"loss_a": torch.tensor(2.0), "loss_b": [torch.tensor(1.0), torch.tensor(3.0)]})
    outputs, losses = _update_losses(["prediction", element], {})
    assert outputs == ["prediction"]
    assert _parse_losses(losses, "val") == {"loss_a": 2.0, "loss_b": 2.0, "val_loss": 4.0}


def test_modules_that_keep_no_activations():
    from mmengine.runner import turn_on_activation_checkpointing

    net, inputs = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)), torch.ones(1, 2, requires_grad=True)
    wanted = net(inputs)
    turn_on_activation_checkpointing(net, ["0"])
    found = net(inputs)
    found.backward()
    assert torch.equal(found, wanted)
    assert net[0].weight.grad is not None


def test_names_of_fsdp_s_settings_are_checked(is_peer):
    from mmengine.model import MMFullyShardedDataParallel

    for settings, told in (
        ({"sharding_strategy": 3}, "must be None or what a ShardingStrategy can be made of, got 3"),
        ({"sharding_strategy": "SHARD"}, "must be one of FULL_SHARD, .*, got 'SHARD'"),
        ({"cpu_offload": "x"}, "cpu_offload must be None or what a CPUOffload"),
        ({"mixed_precision": "x"}, "mixed_precision must be None or what a MixedPrecision"),
        ({"mixed_precision": {"param_dtype": "float17"}}, "must be a torch.dtype or the name of one, got 'float17'"),
        ({"auto_wrap_policy": 3}, "must be a function, its name in FUNCTIONS or a dict with one, got 3"),
        ({"auto_wrap_policy": "nobody"}, "names 'nobody', which is not registered in FUNCTIONS"),
        ({"ignored_modules": [3]}, "ignored_modules must hold names, or each a Module"),
        ({"ignored_parameters": ["weigth"]}, "names 'weigth', which the model has not.*weight"),
    ):
        with pytest.raises(Exception if is_peer else TypeError, match=None if is_peer else told):
            MMFullyShardedDataParallel(nn.Linear(1, 1), **settings)
