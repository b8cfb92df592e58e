"""What the hooks for learning rate and momentum of MMCV 1.x take, refuse, and do over a short run."""

import pytest
import torch
from mmcv1_suite import bare_runner, ones, packages

RESTARTS = {"periods": [2, 10], "restart_weights": [1, 0.5]}
REFUSALS = [
    ("StepLrUpdaterHook", {}, TypeError),
    ("StepLrUpdaterHook", {"step": -10}, AssertionError),
    ("StepLrUpdaterHook", {"step": [10, 16, -20]}, AssertionError),
    ("StepLrUpdaterHook", {"step": "often"}, TypeError),
    ("CosineAnnealingLrUpdaterHook", {}, AssertionError),
    ("CosineAnnealingLrUpdaterHook", {"min_lr": 0, "min_lr_ratio": 0}, AssertionError),
    ("LinearAnnealingLrUpdaterHook", {"min_lr": 0, "min_lr_ratio": 0}, AssertionError),
    ("FlatCosineAnnealingLrUpdaterHook", {"start_percent": -0.1, "min_lr_ratio": 0}, ValueError),
    ("FlatCosineAnnealingLrUpdaterHook", {"start_percent": 1, "min_lr_ratio": 0}, ValueError),
    ("FlatCosineAnnealingLrUpdaterHook", {"start_percent": 0.5}, AssertionError),
    ("CosineRestartLrUpdaterHook", {**RESTARTS, "min_lr": 0.1, "min_lr_ratio": 0}, AssertionError),
    ("CosineRestartLrUpdaterHook", {"periods": [2, 10], "restart_weights": [0.5], "min_lr_ratio": 0}, AssertionError),
    ("CyclicLrUpdaterHook", {"by_epoch": True}, AssertionError),
    ("CyclicLrUpdaterHook", {"target_ratio": (10.0, 0.1, 0.2)}, AssertionError),
    ("CyclicLrUpdaterHook", {"target_ratio": "10"}, ValueError),
    ("CyclicLrUpdaterHook", {"step_ratio_up": 1.4}, AssertionError),
    ("CyclicLrUpdaterHook", {"anneal_strategy": "sin"}, ValueError),
    ("CyclicLrUpdaterHook", {"gamma": 0}, AssertionError),
    ("OneCycleLrUpdaterHook", {"max_lr": 0.1, "by_epoch": True}, AssertionError),
    ("OneCycleLrUpdaterHook", {"max_lr": "0.1"}, ValueError),
    ("OneCycleLrUpdaterHook", {"max_lr": 0.1, "pct_start": -0.1}, ValueError),
    ("OneCycleLrUpdaterHook", {"max_lr": 0.1, "anneal_strategy": "sin"}, ValueError),
    ("OneCycleLrUpdaterHook", {"max_lr": 0.1, "total_steps": 1.5}, ValueError),
    ("FixedLrUpdaterHook", {"warmup": "sideways"}, ValueError),
    ("FixedLrUpdaterHook", {"warmup": "linear", "warmup_iters": 0}, AssertionError),
    ("FixedLrUpdaterHook", {"warmup": "linear", "warmup_iters": 5, "warmup_ratio": 1.5}, AssertionError),
    ("StepMomentumUpdaterHook", {"step": -10}, AssertionError),
    ("StepMomentumUpdaterHook", {"step": [1, -1]}, AssertionError),
    ("CosineAnnealingMomentumUpdaterHook", {}, AssertionError),
    ("LinearAnnealingMomentumUpdaterHook", {"min_momentum": 0, "min_momentum_ratio": 0}, AssertionError),
    ("CyclicMomentumUpdaterHook", {"target_ratio": (0.5, 0.1, 0.2)}, AssertionError),
    ("CyclicMomentumUpdaterHook", {"step_ratio_up": 1.4}, AssertionError),
    ("OneCycleMomentumUpdaterHook", {"by_epoch": True}, AssertionError),
    ("OneCycleMomentumUpdaterHook", {"base_momentum": "0.9"}, ValueError),
    ("OneCycleMomentumUpdaterHook", {"pct_start": 2}, ValueError),
    ("OneCycleMomentumUpdaterHook", {"anneal_strategy": "sin"}, ValueError),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings", "error"), REFUSALS)
def test_what_is_refused(mmcv, name, settings, error):
    from mmcv.runner.hooks import lr_updater, momentum_updater

    home = momentum_updater if "Momentum" in name else lr_updater
    with pytest.raises(error):
        getattr(home, name)(**settings)


def test_restarts_must_last_for_the_whole_run(mmcv, tmp_path):
    runner = bare_runner(tmp_path)
    runner.register_hook_from_cfg(
        {
            "type": "CosineRestartLrUpdaterHook",
            "by_epoch": False,
            "periods": [5, 2],
            "restart_weights": [0.5, 0.5],
            "min_lr": 1e-4,
        }
    )
    with pytest.raises(ValueError, match="7"):
        runner.run([ones(10)], [("train", 1)])


class Curves:
    """Learning rates and momenta of a run of ten iterations, as hooks with a low priority see them."""

    def __init__(self, hook_class):
        class Watch(hook_class):
            def after_train_iter(watch, runner):
                self.lrs.append(runner.current_lr()[0])
                self.momenta.append(runner.current_momentum()[0])

        self.lrs, self.momenta, self.hook = [], [], Watch()


def curves(mmcv, tmp_path, *configs, epochs=1):
    runner = bare_runner(tmp_path, max_epochs=epochs)
    for config in configs:
        runner.register_hook_from_cfg(config)
    found = Curves(mmcv.runner.Hook)
    runner.register_hook(found.hook, priority="LOWEST")
    runner.run([ones(10)], [("train", 1)])
    return found


def test_one_cycle_is_torchs(mmcv, tmp_path):
    settings = {"max_lr": 0.01, "total_steps": 10, "pct_start": 0.5, "anneal_strategy": "linear", "three_phase": True}
    found = curves(
        mmcv,
        tmp_path,
        {"type": "OneCycleLrUpdaterHook", **settings},
        {"type": "OneCycleMomentumUpdaterHook", "pct_start": 0.5, "anneal_strategy": "linear", "three_phase": True},
    )
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.02, momentum=0.95)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, **settings)
    lrs, momenta = [], []
    for _ in range(10):
        lrs.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        scheduler.step() if len(lrs) < 10 else None
    assert found.lrs == pytest.approx(lrs)
    assert found.momenta == pytest.approx(momenta)


@pytest.mark.parametrize(
    ("config", "values"),
    [
        ({"type": "StepLrUpdaterHook", "by_epoch": False, "step": 4, "gamma": 0.5}, [1] * 4 + [0.5] * 4 + [0.25] * 2),
        ({"type": "StepLrUpdaterHook", "by_epoch": False, "step": [2, 4], "gamma": 0.5}, [1, 1, 0.5, 0.5, *[0.25] * 6]),
        ({"type": "StepLrUpdaterHook", "by_epoch": False, "step": 4, "min_lr": 0.015}, [1] * 4 + [0.75] * 6),
        ({"type": "ExpLrUpdaterHook", "by_epoch": False, "gamma": 0.5}, [0.5**n for n in range(10)]),
        ({"type": "PolyLrUpdaterHook", "by_epoch": False, "power": 2}, [(1 - n / 10) ** 2 for n in range(10)]),
        ({"type": "InvLrUpdaterHook", "by_epoch": False, "gamma": 1, "power": 1}, [1 / (1 + n) for n in range(10)]),
        ({"type": "LinearAnnealingLrUpdaterHook", "by_epoch": False, "min_lr": 0}, [1 - n / 10 for n in range(10)]),
        (
            {"type": "FixedLrUpdaterHook", "warmup": "constant", "warmup_iters": 3, "warmup_ratio": 0.1},
            [0.1] * 3 + [1] * 7,
        ),
        (
            {"type": "FixedLrUpdaterHook", "warmup": "linear", "warmup_iters": 4, "warmup_ratio": 0.5},
            [0.5, 0.625, 0.75, 0.875, *[1] * 6],
        ),
        (
            {"type": "FixedLrUpdaterHook", "warmup": "exp", "warmup_iters": 2, "warmup_ratio": 0.25},
            [0.25, 0.5, *[1] * 8],
        ),
    ],
    ids=["step", "steps", "min_lr", "exp", "poly", "inv", "linear", "constant", "linear warm-up", "exp warm-up"],
)
def test_curves(mmcv, tmp_path, config, values):
    assert curves(mmcv, tmp_path, config).lrs == pytest.approx([0.02 * value for value in values])


def test_warm_up_may_be_counted_in_epochs(mmcv, tmp_path):
    found = curves(
        mmcv,
        tmp_path,
        {"type": "FixedLrUpdaterHook", "warmup": "constant", "warmup_iters": 1, "warmup_by_epoch": True},
        epochs=2,
    )
    assert found.lrs == pytest.approx([0.002] * 10 + [0.02] * 10)


def test_betas_of_adam_are_its_momentum(mmcv, tmp_path):
    runner = bare_runner(tmp_path)
    runner.optimizer = torch.optim.Adam(runner.model.parameters(), betas=(0.9, 0.99))
    runner.register_hook_from_cfg({"type": "StepMomentumUpdaterHook", "by_epoch": False, "step": 5, "gamma": 0.5})
    runner.run([ones(10)], [("train", 1)])
    assert runner.optimizer.param_groups[0]["betas"] == pytest.approx((0.45, 0.99))
    assert runner.current_momentum() == pytest.approx([0.45])


def test_the_values_before_are_kept_in_the_groups(mmcv, tmp_path):
    runner = bare_runner(tmp_path)
    runner.register_hook_from_cfg({"type": "ExpLrUpdaterHook", "by_epoch": False, "gamma": 0.5})
    runner.register_hook_from_cfg({"type": "StepMomentumUpdaterHook", "by_epoch": False, "step": 5})
    runner.run([ones(10)], [("train", 1)])
    group = runner.optimizer.param_groups[0]
    assert (group["initial_lr"], group["initial_momentum"]) == (0.02, 0.95)


def test_what_is_logged_of_them(mmcv, tmp_path):
    """A momentum and a learning rate of one run are in the same line."""
    with packages("pavi"):
        runner = bare_runner(tmp_path)
        runner.register_hook_from_cfg({"type": "ExpLrUpdaterHook", "by_epoch": False, "gamma": 0.5})
        runner.register_hook_from_cfg({"type": "StepMomentumUpdaterHook", "by_epoch": False, "step": 5})
        runner.register_hook(mmcv.runner.IterTimerHook())
        logger = mmcv.runner.PaviLoggerHook(interval=5)
        runner.register_hook(logger)
        runner.run([ones(10)], [("train", 1)])
    (_, first, at), (_, second, then) = [call.args for call in logger.writer.add_scalars.call_args_list]
    assert (at, then) == (5, 10)
    assert first == pytest.approx({"learning_rate": 0.02 * 0.5**4, "momentum": 0.95})
    assert second == pytest.approx({"learning_rate": 0.02 * 0.5**9, "momentum": 0.475})
