from collections import namedtuple

import numpy as np
import pytest
import torch
from torch import nn

from trainwright.compat.mmcv1.errors import RuleError
from trainwright.compat.mmcv1.runner.fp16_utils import (
    LossScaler,
    auto_fp16,
    cast_tensor_type,
    force_fp32,
    patch_forward_method,
    patch_norm_fp32,
    wrap_fp16_model,
)

HALF, BF16, FULL = torch.half, torch.bfloat16, torch.float32


class Linear(nn.Module):
    def __init__(self, enabled=True):
        super().__init__()
        self.fp16_enabled = enabled
        self.fc = nn.Linear(2, 2)

    @auto_fp16()
    def forward(self, x):
        return self.fc(x)

    @auto_fp16(out_fp32=True)
    def full_outside(self, x):
        return {"y": self.fc(x)}

    @force_fp32()
    def loss(self, y, scale=1.0):
        return self.fc(y).sum() * scale

    @auto_fp16(apply_to=("x",))
    def variable(self, x, *rest, **named):
        return x.dtype, [r.dtype for r in rest], {name: value.dtype for name, value in named.items()}


def test_a_model_on_a_cpu_computes_in_bfloat16():
    model = Linear()
    assert model(torch.ones(3, 2)).dtype is BF16
    assert model.fc.weight.dtype is FULL
    assert model.full_outside(torch.ones(3, 2))["y"].dtype is FULL
    model.fp16_enabled = False
    assert model(torch.ones(3, 2)).dtype is FULL


def test_what_is_forced_is_full_precision_under_the_decorator_outside():
    class Outer(Linear):
        @auto_fp16()
        def forward(self, x):
            y = self.fc(x)
            return y, self.loss(y, scale=2.0)

    y, loss = Outer()(torch.ones(3, 2))
    assert (y.dtype, loss.dtype) == (BF16, FULL)


def test_arguments_that_are_not_named_stay():
    ones = torch.ones(1)
    assert Linear().variable(ones, ones, other=ones) == (HALF, [FULL], {"other": FULL})
    assert Linear().variable(x=ones) == (HALF, [], {})


def test_gradients_reach_the_weights_in_full_precision():
    model = Linear()
    model.full_outside(torch.ones(3, 2))["y"].sum().backward()
    assert model.fc.weight.grad.dtype is FULL
    assert torch.equal(model.fc.weight.grad, torch.full((2, 2), 3.0))


def test_a_method_of_no_module_is_refused():
    class Other:
        @auto_fp16()
        def half(self, x):
            return x

        @force_fp32()
        def full(self, x):
            return x

    with pytest.raises(TypeError, match="@auto_fp16 is for methods of Module, and Other is none"):
        Other().half(1)
    with pytest.raises(TypeError, match="@force_fp32 is for methods of Module, and Other is none"):
        Other().full(1)


def test_an_object_without_parameters_is_on_the_device_of_its_arguments():
    class Other:
        fp16_enabled = True

        @auto_fp16(supported_types=(object,))
        def product(self, x, y=None):
            return x @ torch.ones(2, 2)

    assert Other().product(torch.ones(2, 2)).dtype is BF16
    assert Other().product(x=torch.ones(2, 2)).dtype is BF16


def test_casts_keep_what_is_no_tensor_of_the_type():
    cast = cast_tensor_type({"a": [torch.ones(1), "text", 2], "b": np.ones(1), "c": torch.ones(1).long()}, FULL, HALF)
    assert cast["a"][0].dtype is HALF
    assert cast["a"][1:] == ["text", 2]
    assert isinstance(cast["b"], np.ndarray)
    assert cast["c"].dtype is torch.long


def test_casts_go_through_named_tuples():
    pair = namedtuple("pair", "one two")
    cast = cast_tensor_type(pair(torch.ones(1), 2), FULL, HALF)
    assert type(cast) is pair
    assert (cast.one.dtype, cast.two) == (HALF, 2)


def test_wrapping_sets_the_flags():
    model = nn.Sequential(Linear(enabled=False), nn.Linear(2, 2))
    wrap_fp16_model(model)
    assert model[0].fp16_enabled
    assert not hasattr(model[1], "fp16_enabled")


def test_normalization_stays_in_full_precision():
    model = patch_norm_fp32(nn.Sequential(nn.Linear(2, 4), nn.GroupNorm(2, 4), nn.BatchNorm1d(4)).half())
    assert [part.weight.dtype for part in model] == [HALF, FULL, FULL]
    assert model[1](torch.ones(2, 4).half()).dtype is HALF


def test_a_patched_method_casts_both_ways():
    seen = []

    def forward(x, scale):
        seen.append((x.dtype, scale.dtype))
        return x * scale

    half = torch.ones(1).half()
    assert patch_forward_method(forward, HALF, FULL)(half, scale=half).dtype is HALF
    assert patch_forward_method(forward, HALF, FULL, convert_output=False)(half, scale=half).dtype is FULL
    assert seen == [(FULL, FULL)] * 2


def test_the_old_place_of_allreduce_grads():
    from trainwright.compat.mmcv1.runner.fp16_utils import allreduce_grads

    with pytest.warns(DeprecationWarning, match=r"take it from mmcv\.runner"):
        allreduce_grads([nn.Parameter(torch.ones(1))])


def test_the_loss_scale_grows_in_windows_and_shrinks_at_overflows():
    scaler = LossScaler(init_scale=4.0, scale_window=2)
    scales = []
    for overflow in (False, False, False, True, False, False, True, True, True, True):
        scaler.update_scale(overflow)
        scales.append(scaler.loss_scale)
    assert scales == [4.0, 8.0, 8.0, 4.0, 4.0, 8.0, 4.0, 2.0, 1.0, 1]
    other = LossScaler()
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict()


def test_overflow_is_found_by_one_read_in_all_gradients():
    params = [nn.Parameter(torch.ones(2)) for _ in range(3)]
    scaler = LossScaler()
    assert not scaler.has_overflow(params)
    params[0].grad, params[2].grad = torch.ones(2), torch.tensor([1.0, float("nan")])
    assert scaler.has_overflow(params)
    assert not LossScaler(mode="static").has_overflow(params)
    assert LossScaler._has_inf_or_nan(params[2].grad)


def test_the_mode_of_the_loss_scale():
    with pytest.raises(RuleError, match="LossScaler mode must be 'dynamic' or 'static', got 'fixed'"):
        LossScaler(mode="fixed")
