"""Casting of tensors, the decorators of mixed precision, and the loss scaler."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

half, full, integer = torch.float16, torch.float32, torch.int32


def test_casts_go_through_containers(mmcv):
    from mmcv.runner.fp16_utils import cast_tensor_type

    class Outputs(dict):
        """A mapping of the user's own."""

    def cast(value, source=full, target=half):
        return cast_tensor_type(value, source, target)

    assert cast(torch.ones(2)).dtype is half
    assert cast(torch.ones(2, dtype=integer)).dtype is integer  # it was not of the source's type
    assert cast(torch.ones(2), half, full).dtype is full
    assert cast(torch.ones(2), full, integer).dtype is integer
    for container in (list, tuple):
        found = cast(container([torch.ones(1), torch.ones(1)]))
        assert type(found) is container
        assert [one.dtype for one in found] == [half, half]
    found = cast(Outputs(one=torch.ones(1), two={"inner": [torch.ones(1)]}))
    assert type(found) is Outputs
    assert (found["one"].dtype, found["two"]["inner"][0].dtype) == (half, half)
    array = np.ones(1, dtype=np.float32)
    module = nn.Linear(1, 1)
    for untouched in ("text", 5, None, array, module):
        assert cast(untouched) is untouched
    assert module.weight.dtype is full


class Plain(nn.Module):
    """The base of examples: some tensor of each kind comes out as it was seen inside."""

    def enable(self):
        self.fp16_enabled = True
        return self


def examples(decorate, **settings):
    class Example(Plain):
        @decorate(**settings)
        def forward(self, x, y):
            return x, y

    return Example()


def test_auto_fp16(mmcv):
    from mmcv.runner import auto_fp16

    x, y = torch.ones(1), torch.ones(1)
    model = examples(auto_fp16)
    assert [out.dtype for out in model(x, y)] == [full, full]  # without the attribute it is the method itself
    model.enable()
    assert [out.dtype for out in model(x, y)] == [half, half]
    assert [out.dtype for out in model(x, y=y)] == [half, half]
    model.fp16_enabled = False
    assert [out.dtype for out in model(x, y)] == [full, full]
    model = examples(auto_fp16, apply_to=("x",)).enable()
    assert [out.dtype for out in model(x, y)] == [half, full]
    assert [out.dtype for out in model(x, y=y)] == [half, full]
    model = examples(auto_fp16, out_fp32=True).enable()
    assert [out.dtype for out in model(x, y)] == [full, full]


def test_auto_fp16_of_other_things_than_modules(mmcv):
    from mmcv.runner import auto_fp16, force_fp32

    class NoModule:
        fp16_enabled = True

        @auto_fp16()
        def called(self, x):
            return x

        @auto_fp16(supported_types=(nn.Module, object))
        def allowed(self, x):
            return x

        @force_fp32()
        def forced(self, x):
            return x

    with pytest.raises(TypeError):
        NoModule().called(torch.ones(1))
    with pytest.raises(TypeError):
        NoModule().forced(torch.ones(1))
    assert NoModule().allowed(torch.ones(1)).dtype is half


def test_auto_fp16_with_defaults_and_containers(mmcv):
    from mmcv.runner import auto_fp16

    class Example(Plain):
        @auto_fp16(apply_to=("x", "y"))
        def forward(self, x, y=None, z=3.0):
            """What it does."""
            return x, y, z

    model = Example().enable()
    x, y, z = model({"a": torch.ones(1)}, [torch.ones(1)])
    assert (x["a"].dtype, y[0].dtype, z) == (half, half, 3.0)
    x, y, z = model(torch.ones(1), z=torch.ones(1))
    assert (x.dtype, y, z.dtype) == (half, None, full)
    assert Example.forward.__doc__ == "What it does."


def test_force_fp32(mmcv):
    from mmcv.runner import force_fp32

    x, y = torch.ones(1).half(), torch.ones(1).half()
    model = examples(force_fp32)
    assert [out.dtype for out in model(x, y)] == [half, half]
    model.enable()
    assert [out.dtype for out in model(x, y)] == [full, full]
    model = examples(force_fp32, apply_to=("x",)).enable()
    assert [out.dtype for out in model(x, y=y)] == [full, half]
    model = examples(force_fp32, out_fp16=True).enable()
    assert [out.dtype for out in model(x, y)] == [half, half]


def test_the_flag_is_set_in_all_modules_that_have_it(mmcv):
    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.fp16_enabled = False

    model = nn.Sequential(Inner(), nn.Linear(1, 1), nn.Sequential(Inner()))
    mmcv.runner.wrap_fp16_model(model)
    assert model[0].fp16_enabled
    assert model[2][0].fp16_enabled
    assert not hasattr(model[1], "fp16_enabled")
    assert model[1].weight.dtype is full


def test_norms_stay_in_full_precision(mmcv):
    from mmcv.runner.fp16_utils import patch_norm_fp32

    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.GroupNorm(1, 2)).half()
    assert patch_norm_fp32(model) is model
    assert [model[i].weight.dtype for i in range(3)] == [half, full, full]
    assert model[2](torch.ones(1, 2, 1, 1).half()).dtype is half


def test_the_loss_scaler(mmcv):
    scaler = mmcv.runner.LossScaler(init_scale=16, mode="dynamic", scale_factor=2.0, scale_window=3)
    for overflow, expected in ((False, 16), (False, 16), (False, 32), (True, 16), (False, 16), (True, 8)):
        scaler.update_scale(overflow)
        assert scaler.loss_scale == expected, overflow
    assert scaler.state_dict() == {
        "cur_scale": 8.0,
        "cur_iter": 6,
        "mode": "dynamic",
        "last_overflow_iter": 5,
        "scale_factor": 2.0,
        "scale_window": 3,
    }
    other = mmcv.runner.LossScaler()
    assert (other.loss_scale, other.mode, other.scale_window) == (2**32, "dynamic", 1000)
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict()
    still = mmcv.runner.LossScaler(init_scale=512.0, mode="static")
    still.update_scale(True)
    assert still.loss_scale == 512.0
    with pytest.raises(AssertionError):
        mmcv.runner.LossScaler(mode="other")


def test_overflows_are_found(mmcv):
    scaler = mmcv.runner.LossScaler()
    parameter = nn.Parameter(torch.ones(2))
    assert not scaler.has_overflow([parameter])
    for value in (1.0, float("inf"), float("-inf"), float("nan")):
        parameter.grad = torch.tensor([1.0, value])
        assert scaler.has_overflow([parameter]) == (value != 1.0)
    assert not mmcv.runner.LossScaler(mode="static").has_overflow([parameter])


@pytest.mark.parametrize("scale", [512.0, "dynamic", {"init_scale": 8.0, "growth_interval": 5}])
def test_the_scaler_of_the_hook(mmcv, scale):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's: there is no device to scale for
        hook = mmcv.runner.Fp16OptimizerHook(loss_scale=scale)
    assert isinstance(hook.loss_scaler, torch.amp.GradScaler)
    with pytest.raises(ValueError, match="loss_scale"):
        mmcv.runner.Fp16OptimizerHook(loss_scale=[1])
