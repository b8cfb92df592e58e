"""Every policy for learning rate and momentum with every warm-up, over 2,000 steps: as MMCV 1.7.2 computes it."""

import copy
import types

import numpy as np
import pytest
from mmcv1_curves import (
    CASES,
    FILE,
    N_ITERS,
    N_STEPS,
    Walk,
    assert_digests_agree,
    changing,
    curve,
    curve_of_run,
    digest,
    make_optimizer,
    values_of,
)

from trainwright.compat.mmcv1 import runner
from trainwright.compat.mmcv1.runner.hooks import lr_updater, momentum_updater

OURS = types.SimpleNamespace(**(vars(lr_updater) | vars(momentum_updater)))


@pytest.fixture(scope="module")
def recorded():
    """By MMCV 1.7.2: record_mmcv1_curves.py."""
    with np.load(FILE) as file:
        return dict(zip(file["cases"].tolist(), file["digests"], strict=True))


def test_what_is_recorded_are_the_cases(recorded):
    assert list(recorded) == list(CASES)
    assert FILE.stat().st_size < 200_000


@pytest.mark.parametrize("case", CASES)
def test_curves_are_as_recorded(case, recorded):
    values = curve(OURS, case)
    assert values.shape == (N_STEPS, len(values_of(make_optimizer(CASES[case][2]))))
    assert_digests_agree(digest(changing(case, values)), recorded[case])


def test_a_digest_tells_curves_apart():
    values = np.random.default_rng(0).random((N_STEPS, 2))
    expected = digest(values)
    assert_digests_agree(digest(values + 1e-13), expected)
    for step in (7, 500, 1998):
        changed = values.copy()
        changed[step, 1] += 1e-9
        with pytest.raises(AssertionError):
            assert_digests_agree(digest(changed), expected)
    swapped = values.copy()
    swapped[[900, 901]] = swapped[[901, 900]]
    with pytest.raises(AssertionError):
        assert_digests_agree(digest(swapped), expected)


@pytest.mark.parametrize("at", [50, 990, 1000])
@pytest.mark.parametrize("case", list(CASES)[::5])
def test_a_curve_goes_on_where_it_was_resumed(case, at):
    """Inside a warm-up, inside an epoch and at the begin of one: with the optimizer's state, a new hook goes on."""
    whole = curve(OURS, case)
    name, arguments, kind = CASES[case]
    optimizer = make_optimizer(kind)
    begun = Walk(optimizer).run([getattr(OURS, name)(**arguments)], until=at)

    resumed = Walk(make_optimizer(kind))
    resumed.iter, resumed.epoch = at, at // N_ITERS
    load(resumed.optimizer, optimizer)
    rest = resumed.run([getattr(OURS, name)(**arguments)])
    np.testing.assert_array_equal(np.concatenate([begun, rest]), whole)


def load(optimizer, source):
    for own, other in zip(*(o.values() if isinstance(o, dict) else [o] for o in (optimizer, source)), strict=True):
        own.load_state_dict(copy.deepcopy(other.state_dict()))


@pytest.mark.parametrize("case", list(CASES)[::11])
def test_curves_of_runs_are_as_recorded(case, recorded):
    assert_digests_agree(digest(changing(case, curve_of_run(runner, case))), recorded[case])


@pytest.mark.parametrize("case", [case for case in CASES if "-iter-" in case and "_epochs-" not in case][::9])
def test_curves_of_runs_by_iterations_are_as_recorded(case, recorded):
    assert_digests_agree(digest(changing(case, curve_of_run(runner, case, by_iters=True))), recorded[case])


def squared_warm_up(module):
    """A hook as projects on MMCV write them: it overrides the warm-up and the rate, and uses the module's functions."""

    class SquaredWarmUp(module.CosineAnnealingLrUpdaterHook):
        def __init__(self, n_last_epochs, **kwargs):
            self.n_last_epochs = n_last_epochs
            super().__init__(**kwargs)

        def get_warmup_lr(self, cur_iters):
            share = self.warmup_ratio * ((cur_iters + 1) / float(self.warmup_iters)) ** 2
            if isinstance(self.base_lr, dict):
                return {name: [lr * share for lr in rates] for name, rates in self.base_lr.items()}
            return [lr * share for lr in self.base_lr]

        def get_lr(self, runner, base_lr):
            last = len(runner.data_loader) * self.n_last_epochs
            step, length = (runner.epoch, runner.max_epochs) if self.by_epoch else (runner.iter, runner.max_iters)
            target = base_lr * self.min_lr_ratio
            if step + 1 >= length - last:
                return target
            return module.annealing_cos(base_lr, target, (step + 1 - last) / (length - last))

    return SquaredWarmUp(
        15,
        by_epoch=False,
        warmup="exp",
        warmup_iters=5,
        warmup_ratio=1,
        warmup_by_epoch=True,
        min_lr_ratio=0.05,
    )


@pytest.mark.parametrize("kind", ["sgd", "several"])
def test_a_hook_of_the_users(kind):
    values = Walk(make_optimizer(kind)).run([squared_warm_up(lr_updater)])
    assert values[[0, 49, 99], 0] == pytest.approx([0.1 / 100**2, 0.1 / 4, 0.1])
    assert values[-15 * N_ITERS :, 1] == pytest.approx(0.02 * 0.05)


@pytest.mark.mmcv1
@pytest.mark.filterwarnings("ignore")  # MMCV's own warnings
@pytest.mark.parametrize("kind", ["sgd", "several"])
def test_a_hook_of_the_users_beside_mmcv(kind, real_mmcv):
    ours, theirs = (
        Walk(make_optimizer(kind)).run([squared_warm_up(module)])
        for module in (lr_updater, real_mmcv.runner.hooks.lr_updater)
    )
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.mmcv1
@pytest.mark.filterwarnings("ignore")  # MMCV's own warnings
@pytest.mark.parametrize("case", list(CASES)[::33])
def test_curves_of_runs_beside_mmcv(case, real_mmcv):
    np.testing.assert_array_equal(curve_of_run(real_mmcv.runner, case), curve(OURS, case))


@pytest.mark.mmcv1
@pytest.mark.filterwarnings("ignore")  # MMCV's own warnings
@pytest.mark.parametrize("case", CASES)
def test_curves_beside_mmcv(case, real_mmcv, recorded):
    theirs = curve(real_mmcv.runner.hooks, case)
    np.testing.assert_allclose(curve(OURS, case), theirs, rtol=0, atol=1e-12)
    assert_digests_agree(digest(changing(case, theirs)), recorded[case])
