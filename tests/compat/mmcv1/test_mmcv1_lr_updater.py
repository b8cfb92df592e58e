import inspect
import logging
import math
import pickle

import pytest
import torch
from mmcv1_curves import N_ITERS, Still, Walk, make_optimizer

from trainwright.base.errors import TrainwrightError
from trainwright.compat.mmcv1.runner import EpochBasedRunner
from trainwright.compat.mmcv1.runner.hooks import lr_updater
from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS
from trainwright.compat.mmcv1.runner.hooks.lr_updater import (
    CosineAnnealingLrUpdaterHook,
    CosineRestartLrUpdaterHook,
    CyclicLrUpdaterHook,
    ExpLrUpdaterHook,
    FixedLrUpdaterHook,
    FlatCosineAnnealingLrUpdaterHook,
    LinearAnnealingLrUpdaterHook,
    LrUpdaterHook,
    OneCycleLrUpdaterHook,
    PolyLrUpdaterHook,
    StepLrUpdaterHook,
    annealing_cos,
    annealing_linear,
    format_param,
    get_position_from_periods,
)
from trainwright.engine import Event

HOOK_NAMES = [
    "FixedLrUpdaterHook",
    "StepLrUpdaterHook",
    "ExpLrUpdaterHook",
    "PolyLrUpdaterHook",
    "InvLrUpdaterHook",
    "CosineAnnealingLrUpdaterHook",
    "FlatCosineAnnealingLrUpdaterHook",
    "CosineRestartLrUpdaterHook",
    "CyclicLrUpdaterHook",
    "OneCycleLrUpdaterHook",
    "LinearAnnealingLrUpdaterHook",
]


@pytest.mark.parametrize("name", HOOK_NAMES)
def test_policies_are_registered(name):
    assert HOOKS.get(name) is getattr(lr_updater, name)


def test_functions_of_the_module():
    assert annealing_cos(1.0, 0.0, 0.5) == pytest.approx(0.5)
    assert annealing_cos(start=2, end=1, factor=0, weight=0.5) == 1.5
    assert annealing_cos(0.7, 0.1, 1.0) == pytest.approx(0.1)
    assert annealing_linear(start=1, end=3, factor=0.25) == 1.5
    periods = [100, 200, 300, 400]
    assert [get_position_from_periods(n, periods) for n in (0, 50, 99, 100, 210, 300)] == [0, 0, 0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"Current iteration 400 exceeds cumulative_periods \[100, 200, 300, 400\]"):
        get_position_from_periods(400, periods)


def test_values_for_groups():
    optimizer = make_optimizer("sgd")
    assert format_param("SGD", optimizer, 0.3) == [0.3, 0.3]
    given = [0.1, 0.2]
    assert format_param("SGD", optimizer, given) is given
    assert format_param("SGD", optimizer, {"SGD": given, "Adam": 1}) is given
    with pytest.raises(ValueError, match="expected 2 values for SGD, one for each parameter group, got 3"):
        format_param("SGD", optimizer, (1, 2, 3))
    with pytest.raises(KeyError, match=r"SGD is not found in \['Adam'\]: give a value for each optimizer") as error:
        format_param("SGD", optimizer, {"Adam": 1})
    assert str(error.value).startswith("SGD is")


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"warmup": "cosine"}, ValueError, "warmup must be None or one of constant, linear, exp, got 'cosine'"),
        ({"warmup": "linear"}, AssertionError, "warmup_iters must be a positive integer, got 0"),
        ({"warmup": "linear", "warmup_iters": 2.5}, AssertionError, "warmup_iters must be a positive integer, got 2.5"),
        (
            {"warmup": "exp", "warmup_iters": 5, "warmup_ratio": 0},
            AssertionError,
            r"warmup_ratio must be in range \(0, 1\], got 0",
        ),
        ({"warmup": "exp", "warmup_iters": 5, "warmup_ratio": 1.5}, AssertionError, "warmup_ratio .* got 1.5"),
    ],
)
def test_warm_ups_that_are_refused(arguments, kind, message):
    with pytest.raises(kind, match=f"FixedLrUpdaterHook {message}") as error:
        FixedLrUpdaterHook(**arguments)
    assert isinstance(error.value, TrainwrightError)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: StepLrUpdaterHook("a"), TypeError, "step must be a list or integer, got 'a' of type str"),
        (lambda: StepLrUpdaterHook(0), AssertionError, "step must be positive integers, got 0"),
        (lambda: StepLrUpdaterHook([3, 2.5]), AssertionError, "step must be positive integers"),
        (lambda: CosineAnnealingLrUpdaterHook(), AssertionError, "either min_lr or min_lr_ratio, got None and None"),
        (lambda: LinearAnnealingLrUpdaterHook(0, 0), AssertionError, "either min_lr or min_lr_ratio, got 0 and 0"),
        (lambda: FlatCosineAnnealingLrUpdaterHook(), AssertionError, "either min_lr or min_lr_ratio"),
        (
            lambda: FlatCosineAnnealingLrUpdaterHook(1, min_lr=0),
            ValueError,
            "start_percent: expected float between 0 and 1, got 1",
        ),
        (lambda: CosineRestartLrUpdaterHook([1, 2], [1], min_lr=0), AssertionError, "the same length"),
        (lambda: CosineRestartLrUpdaterHook([1], [1]), AssertionError, "either min_lr or min_lr_ratio"),
        (lambda: CyclicLrUpdaterHook(by_epoch=True), AssertionError, "supports by_epoch=False only, got True"),
        (lambda: CyclicLrUpdaterHook(target_ratio=[1]), ValueError, "should be either float or tuple, got"),
        (lambda: CyclicLrUpdaterHook(target_ratio=(10.0, 0.1, 0.2)), AssertionError, "must be two floats"),
        (lambda: CyclicLrUpdaterHook(step_ratio_up=1.4), AssertionError, r"in range \[0, 1\), got 1.4"),
        (lambda: CyclicLrUpdaterHook(gamma=0), AssertionError, r"gamma must be in range \(0, 1\], got 0"),
        (lambda: CyclicLrUpdaterHook(anneal_strategy="sin"), ValueError, "one of .cos. or .linear., got 'sin'"),
        (lambda: OneCycleLrUpdaterHook(0.1, by_epoch=True), AssertionError, "supports by_epoch=False only"),
        (lambda: OneCycleLrUpdaterHook("1"), ValueError, "max_lr must be a number, list or dict, got '1'"),
        (lambda: OneCycleLrUpdaterHook(1, total_steps=1e3), ValueError, "total_steps must be an int, got 1000.0"),
        (lambda: OneCycleLrUpdaterHook(0.1, pct_start=-0.1), ValueError, "pct_start: expected float between 0 and 1"),
        (lambda: OneCycleLrUpdaterHook(0.1, anneal_strategy="sin"), ValueError, "anneal_strategy must be one of"),
    ],
)
def test_settings_that_are_refused(make, kind, message):
    with pytest.raises(kind, match=message) as error:
        make()
    assert isinstance(error.value, TrainwrightError)
    assert "LrUpdaterHook" in str(error.value)


@pytest.mark.parametrize("by_epoch", [True, False])
@pytest.mark.parametrize("hook", [PolyLrUpdaterHook, CosineAnnealingLrUpdaterHook, FlatCosineAnnealingLrUpdaterHook])
def test_a_training_of_unknown_length(hook, by_epoch):
    arguments = {"by_epoch": by_epoch, "min_lr": 0}
    runner = Walk(make_optimizer("sgd"))
    runner.max_epochs = runner.max_iters = None
    unit = (
        "max_epochs is None. Set it, or by_epoch=False" if by_epoch else "max_iters is None. Set it, or by_epoch=True"
    )
    with pytest.raises(TypeError, match=f"needs the length of the training, and the runner's {unit}"):
        hook(**arguments).get_lr(runner, 0.1)


def test_a_cycle_that_is_too_short():
    hook = OneCycleLrUpdaterHook(0.1, total_steps=1999)
    with pytest.raises(ValueError, match=r"greater than or equal to the runner's max_iters 2000, got 1999"):
        hook.before_run(Walk(make_optimizer("sgd")))


def test_periods_must_reach_to_the_end():
    hook = CosineRestartLrUpdaterHook(periods=[2], restart_weights=[1], min_lr=0)
    with pytest.raises(ValueError, match="Current iteration 2 exceeds"):
        Walk(make_optimizer("sgd")).run([hook])


def test_a_warm_up_in_epochs_needs_epochs():
    """A runner by iterations fires no event at the begin of an epoch of training."""
    hook = FixedLrUpdaterHook(warmup="linear", warmup_iters=2, warmup_by_epoch=True)
    assert hook.warmup_epochs == 2
    assert hook.warmup_iters is None
    with pytest.raises(AssertionError, match="warmup_by_epoch=True needs the length of an epoch"):
        hook.before_train_iter(Walk(make_optimizer("sgd")))
    walk = Walk(make_optimizer("sgd"))
    walk.run([hook], until=1)
    assert hook.warmup_iters == 2 * N_ITERS


def test_a_policy_of_the_users():
    class Halves(LrUpdaterHook):
        def get_lr(self, runner, base_lr):
            return base_lr / 2 ** (runner.epoch if self.by_epoch else runner.iter)

    values = Walk(make_optimizer("several")).run([Halves()], until=2 * N_ITERS + 1)
    assert values[[0, N_ITERS, -1], :3].tolist() == [[0.1, 0.02, 0.002], [0.05, 0.01, 0.001], [0.025, 0.005, 0.0005]]
    with pytest.raises(NotImplementedError, match=r"LrUpdaterHook must write get_lr\(runner, base_lr\)"):
        Walk(make_optimizer("sgd")).run([LrUpdaterHook()])


def test_overridden_methods_are_what_is_called():
    class Louder(StepLrUpdaterHook):
        def get_regular_lr(self, runner):
            return [2 * lr for lr in super().get_regular_lr(runner)]

        def get_warmup_lr(self, cur_iters):
            return [lr + 1 for lr in super().get_warmup_lr(cur_iters)]

        def _set_lr(self, runner, lr_groups):
            super()._set_lr(runner, [lr + 100 for lr in lr_groups])

    hook = Louder(step=1, warmup="constant", warmup_iters=3, warmup_ratio=0.5)
    values = Walk(make_optimizer("nesterov")).run([hook], until=5)
    assert values[:, 0].tolist() == pytest.approx([101.05] * 3 + [100.1] * 2)
    assert hook.base_lr == [0.05]
    assert hook.regular_lr == [0.1]


def test_the_initial_rate_comes_from_the_groups():
    optimizer = make_optimizer("sgd")
    optimizer.param_groups[1]["initial_lr"] = 4.0  # as in the state of an optimizer that was saved
    hook = ExpLrUpdaterHook(gamma=0.5)
    values = Walk(optimizer).run([hook], until=N_ITERS + 1)
    assert hook.base_lr == [0.1, 4.0]
    assert optimizer.param_groups[0]["initial_lr"] == 0.1
    assert values[[0, -1], :2].tolist() == [[0.1, 4.0], [0.05, 2.0]]


def test_exponents_that_are_too_large():
    hook = ExpLrUpdaterHook(gamma=1e200)
    runner = Walk(make_optimizer("sgd"))
    runner.epoch = 2
    assert hook.get_lr(runner, 0.1) == math.inf


def test_what_has_nothing_to_do_in_an_iteration():
    assert FixedLrUpdaterHook().idle_at("before_train_iter")
    assert not FixedLrUpdaterHook().idle_at("before_train_epoch")
    assert not FixedLrUpdaterHook(by_epoch=False).idle_at("before_train_iter")
    assert not FixedLrUpdaterHook(warmup="linear", warmup_iters=1).idle_at("before_train_iter")

    class Own(FixedLrUpdaterHook):
        def before_train_iter(self, runner):
            super().before_train_iter(runner)

    assert not Own().idle_at("before_train_iter")
    assert "before_train_iter" in FixedLrUpdaterHook().get_triggered_stages()


def test_a_method_set_on_the_hook_is_called():
    runner = EpochBasedRunner(Still(), optimizer=make_optimizer("sgd"), logger=logging.getLogger("still"), max_epochs=1)
    hook = StepLrUpdaterHook(step=[1])
    seen = []
    hook.before_train_iter = lambda runner: seen.append(runner.iter)
    runner.register_lr_hook(hook)
    runner.run([[None] * 3], [("train", 1)])
    assert seen == [0, 1, 2]


def test_it_is_not_called_in_an_iteration():
    """Where it has nothing to do there it costs nothing."""
    runner = EpochBasedRunner(Still(), optimizer=make_optimizer("sgd"), logger=logging.getLogger("still"), max_epochs=1)
    hook = StepLrUpdaterHook(step=[1])
    runner.register_lr_hook(hook)
    assert not runner.ctx.hooks.calls[Event.BEFORE_TRAIN_ITER]
    hook.warmup, hook.warmup_iters = "constant", 2  # the tables are made anew before each epoch
    runner.run([[None] * 3], [("train", 1)])
    assert len(runner.ctx.hooks.calls[Event.BEFORE_TRAIN_ITER]) == 1


@pytest.mark.parametrize("name", HOOK_NAMES)
def test_hooks_can_be_pickled(name):
    arguments = {"Step": {"step": 2}, "Exp": {"gamma": 0.5}, "Inv": {"gamma": 0.5}, "OneCycle": {"max_lr": 0.1}}
    policy = name.removesuffix("LrUpdaterHook")
    if policy.startswith(("Cosine", "Flat", "Linear")):
        arguments[policy] = {"min_lr": 0.0, **({"periods": [5]} if "Restart" in policy else {})}
    hook = getattr(lr_updater, name)(**arguments.get(policy, {}))
    assert vars(pickle.loads(pickle.dumps(hook))) == vars(hook)


@pytest.mark.mmcv1
@pytest.mark.filterwarnings("ignore")  # MMCV's own warnings
@pytest.mark.parametrize("name", ["LrUpdaterHook", *HOOK_NAMES])
def test_parameters_are_those_of_mmcv(name, real_mmcv):
    def listed(hook):
        return [(p.name, p.default, p.kind) for p in inspect.signature(hook).parameters.values()]

    assert listed(getattr(lr_updater, name)) == listed(getattr(real_mmcv.runner.hooks, name))


def test_rates_that_are_tensors():
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=torch.tensor(0.1))
    Walk(optimizer).run([ExpLrUpdaterHook(gamma=0.5)], until=2 * N_ITERS)
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.05)
    assert float(optimizer.param_groups[0]["initial_lr"]) == pytest.approx(0.1)
