import inspect

import pytest
import torch
from mmcv1_curves import N_ITERS, Walk, make_optimizer

from trainwright.base.errors import TrainwrightError
from trainwright.compat.mmcv1.runner.hooks import momentum_updater
from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS
from trainwright.compat.mmcv1.runner.hooks.momentum_updater import (
    CosineAnnealingMomentumUpdaterHook,
    CyclicMomentumUpdaterHook,
    LinearAnnealingMomentumUpdaterHook,
    MomentumUpdaterHook,
    OneCycleMomentumUpdaterHook,
    StepMomentumUpdaterHook,
)

HOOK_NAMES = [
    "StepMomentumUpdaterHook",
    "CosineAnnealingMomentumUpdaterHook",
    "LinearAnnealingMomentumUpdaterHook",
    "CyclicMomentumUpdaterHook",
    "OneCycleMomentumUpdaterHook",
]


@pytest.mark.parametrize("name", HOOK_NAMES)
def test_policies_are_registered(name):
    assert HOOKS.get(name) is getattr(momentum_updater, name)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: StepMomentumUpdaterHook(2, warmup="up"), ValueError, "warmup must be None or one of"),
        (lambda: StepMomentumUpdaterHook(2, warmup="exp"), AssertionError, "warmup_iters must be a positive integer"),
        (
            lambda: StepMomentumUpdaterHook(2, warmup="exp", warmup_iters=1, warmup_ratio=0),
            AssertionError,
            r"warmup_ratio must be in range \(0, 1\], got 0",
        ),
        (lambda: StepMomentumUpdaterHook(None), TypeError, "step must be a list or integer, got None"),
        (lambda: StepMomentumUpdaterHook([1, -2]), AssertionError, r"step must be positive integers, got \[1, -2\]"),
        (lambda: CosineAnnealingMomentumUpdaterHook(), AssertionError, "either min_momentum or min_momentum_ratio"),
        (lambda: LinearAnnealingMomentumUpdaterHook(1, 1), AssertionError, "either min_momentum or"),
        (lambda: CyclicMomentumUpdaterHook(by_epoch=True), AssertionError, "supports by_epoch=False only"),
        (lambda: CyclicMomentumUpdaterHook(target_ratio="1"), ValueError, "should be either float or tuple"),
        (lambda: CyclicMomentumUpdaterHook(target_ratio=(1, 2, 3)), AssertionError, "must be two floats"),
        (lambda: CyclicMomentumUpdaterHook(step_ratio_up=-1), AssertionError, "step_ratio_up must be in range"),
        (lambda: CyclicMomentumUpdaterHook(anneal_strategy="sin"), ValueError, "anneal_strategy must be one of"),
        (lambda: OneCycleMomentumUpdaterHook(by_epoch=True), AssertionError, "supports by_epoch=False only"),
        (lambda: OneCycleMomentumUpdaterHook(1), ValueError, "base_momentum must be a float, list or dict, got 1"),
        (lambda: OneCycleMomentumUpdaterHook(0.8, "1"), ValueError, "max_momentum must be a float, list or dict"),
        (lambda: OneCycleMomentumUpdaterHook(pct_start=1.5), ValueError, "pct_start: expected float between 0 and 1"),
        (lambda: OneCycleMomentumUpdaterHook(anneal_strategy=1), ValueError, "anneal_strategy must be one of"),
    ],
)
def test_settings_that_are_refused(make, kind, message):
    with pytest.raises(kind, match=message) as error:
        make()
    assert isinstance(error.value, TrainwrightError)
    assert "MomentumUpdaterHook" in str(error.value)


def test_optimizers_without_momentum():
    optimizer = torch.optim.Adagrad([torch.nn.Parameter(torch.zeros(1))])
    with pytest.raises(
        KeyError, match="parameter groups of the optimizer Adagrad have neither momentum nor betas"
    ) as e:
        StepMomentumUpdaterHook(2).before_run(Walk(optimizer))
    assert isinstance(e.value, TrainwrightError)
    with pytest.raises(ValueError, match="optimizer must support momentum, and Adagrad has neither"):
        OneCycleMomentumUpdaterHook().before_run(Walk(optimizer))
    with pytest.raises(ValueError, match="expected 2 values for SGD"):
        OneCycleMomentumUpdaterHook(base_momentum=[0.8]).before_run(Walk(make_optimizer("sgd")))
    with pytest.raises(KeyError, match=r"one is not found in \['two'\]"):
        OneCycleMomentumUpdaterHook(max_momentum={"two": 0.9}).before_run(Walk(make_optimizer("several")))


def test_the_second_beta_stays():
    optimizer = make_optimizer("adam")
    Walk(optimizer).run([StepMomentumUpdaterHook(1, gamma=0.5)], until=N_ITERS + 1)
    assert [group["betas"] for group in optimizer.param_groups] == [(0.45, 0.999), (0.4, 0.99), (0.45, 0.999)]
    assert [group["initial_momentum"] for group in optimizer.param_groups] == [0.9, 0.8, 0.9]


def test_one_cycle_begins_at_the_upper_momentum():
    optimizer = make_optimizer("several")
    hook = OneCycleMomentumUpdaterHook(0.8, {"one": [0.91, 0.92], "two": [0.93]})
    hook.before_run(Walk(optimizer))
    assert [group["momentum"] for group in optimizer["one"].param_groups] == [0.91, 0.92]
    assert optimizer["two"].param_groups[0]["betas"] == (0.93, 0.9)
    assert optimizer["two"].param_groups[0]["base_momentum"] == 0.8


def test_a_policy_of_the_users():
    class Fixed(MomentumUpdaterHook):
        def get_momentum(self, runner, base_momentum):
            return base_momentum

    hook = Fixed(warmup="constant", warmup_iters=2, warmup_ratio=0.9)
    values = Walk(make_optimizer("nesterov")).run([hook], until=4)
    assert values[:, 1].tolist() == pytest.approx([0.95 / 0.9] * 2 + [0.95] * 2)
    with pytest.raises(NotImplementedError, match=r"must write get_momentum\(runner, base_momentum\)"):
        Walk(make_optimizer("sgd")).run([MomentumUpdaterHook()])


def test_a_training_of_unknown_length():
    walk = Walk(make_optimizer("sgd"))
    walk.max_iters = None
    for hook in (CyclicMomentumUpdaterHook(), OneCycleMomentumUpdaterHook()):
        with pytest.raises(TypeError, match="by_epoch=False needs the length of the training"):
            hook.before_run(walk)


@pytest.mark.mmcv1
@pytest.mark.filterwarnings("ignore")  # MMCV's own warnings
@pytest.mark.parametrize("name", ["MomentumUpdaterHook", *HOOK_NAMES])
def test_parameters_are_those_of_mmcv(name, real_mmcv):
    def listed(hook):
        return [(p.name, p.default, p.kind) for p in inspect.signature(hook).parameters.values()]

    assert listed(getattr(momentum_updater, name)) == listed(getattr(real_mmcv.runner.hooks, name))
