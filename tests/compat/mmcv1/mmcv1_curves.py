"""Curves of MMCV 1.x's hooks for learning rate and momentum over 2,000 steps, by the classes of any engine."""

import logging
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

N_EPOCHS, N_ITERS = 100, 20  # an epoch's iterations
N_STEPS = N_EPOCHS * N_ITERS
FILE = Path(__file__).parent / "mmcv1_curves.npz"

# Where there may be a seam: around epochs, and the ends of the warm-ups below; and from there to the end.
POINTS = [0, 1, 2, 19, 20, 21, 34, 35, 36, 49, 50, 51, 59, 60, 61, 129, 130, 131, 140, *range(200, 1999, 86), 1999]
N_BLOCKS = 25
WEIGHTS = 1 + (np.arange(N_STEPS) % 7) / 7

WARM_UPS = {
    "plain": {},
    "constant": {"warmup": "constant", "warmup_iters": 35, "warmup_ratio": 0.1},
    "linear": {"warmup": "linear", "warmup_iters": 130, "warmup_ratio": 0.001},
    "exp": {"warmup": "exp", "warmup_iters": 50, "warmup_ratio": 0.25},
}
BY_EPOCHS = {
    f"{kind}_epochs": {"warmup": kind, "warmup_iters": n, "warmup_ratio": 0.3, "warmup_by_epoch": True}
    for kind, n in (("constant", 1), ("linear", 3), ("exp", 7))
}

# For each policy, arguments with by_epoch=True and with by_epoch=False.
RATES = {
    "Fixed": ({}, {}),
    "Step_interval": ({"step": 30}, {"step": 333, "gamma": 0.7}),
    "Step_list": ({"step": [10, 70, 90], "gamma": 0.3}, {"step": [205, 1111], "min_lr": 0.0015}),
    "Step_unordered": ({"step": [40, 20, 80], "gamma": 0.5}, {"step": [900, 300]}),
    "Exp": ({"gamma": 0.97}, {"gamma": 0.9987}),
    "Poly": ({"power": 0.9, "min_lr": 1e-4}, {"power": 2.0}),
    "Inv": ({"gamma": 0.2}, {"gamma": 0.01, "power": 0.75}),
    "CosineAnnealing": ({"min_lr": 1e-5}, {"min_lr_ratio": 0.05}),
    "FlatCosineAnnealing": ({"start_percent": 0.3, "min_lr_ratio": 0.01}, {"min_lr": 1e-4}),
    "CosineRestart": (
        {"periods": [10, 30, 60], "restart_weights": [1, 0.5, 0.25], "min_lr": 1e-4},
        {"periods": [500, 500, 1000], "restart_weights": [1, 0.9, 1.2], "min_lr_ratio": 0.1},
    ),
    "LinearAnnealing": ({"min_lr": 1e-4}, {"min_lr_ratio": 0.2}),
}
CYCLES = {
    "Cyclic": {},
    "Cyclic_ratio": {"target_ratio": 5.0, "cyclic_times": 3},
    "Cyclic_decaying": {"target_ratio": (6, 0.1), "cyclic_times": 7, "gamma": 0.8, "step_ratio_up": 0.25},
    "Cyclic_linear": {"target_ratio": (3.0,), "cyclic_times": 4, "anneal_strategy": "linear"},
    "Cyclic_down": {"target_ratio": (2, 0.5), "cyclic_times": 2, "step_ratio_up": 0.0, "gamma": 0.5},
    "OneCycle": {"max_lr": 0.3},
    "OneCycle_linear": {"max_lr": 0.2, "pct_start": 0.45, "anneal_strategy": "linear", "div_factor": 10},
    "OneCycle_three": {"max_lr": 0.1, "three_phase": True, "final_div_factor": 100.0},
    "OneCycle_longer": {"max_lr": 0.1, "total_steps": 2600, "pct_start": 0.2},
}
EACH_GROUP = {
    "OneCycle_list": ("sgd", {"max_lr": [0.4, 0.05], "three_phase": True}),
    "OneCycle_dict": ("several", {"max_lr": {"one": [0.4, 0.05], "two": [0.01]}}),
    "OneCycle_class": ("adam", {"max_lr": {"AdamW": [0.01, 0.02, 0.03]}, "anneal_strategy": "linear"}),
}
MOMENTA = {
    "Step_interval": ({"step": 30}, {"step": 333, "gamma": 0.9}),
    "Step_list": ({"step": [10, 70, 90], "gamma": 0.8}, {"step": [205, 1111], "min_momentum": 0.7}),
    "CosineAnnealing": ({"min_momentum": 0.5}, {"min_momentum_ratio": 0.6}),
    "LinearAnnealing": ({"min_momentum": 0.5}, {"min_momentum_ratio": 0.6}),
}
MOMENTUM_CYCLES = {
    "Cyclic": {},
    "Cyclic_ratio": {"target_ratio": 0.8, "cyclic_times": 3},
    "Cyclic_decaying": {"target_ratio": (0.8, 1.05), "cyclic_times": 7, "gamma": 0.8, "step_ratio_up": 0.25},
    "Cyclic_linear": {"target_ratio": (0.7,), "cyclic_times": 4, "anneal_strategy": "linear"},
    "OneCycle": {},
    "OneCycle_linear": {"base_momentum": 0.7, "max_momentum": 0.99, "pct_start": 0.45, "anneal_strategy": "linear"},
    "OneCycle_three": {"three_phase": True},
}
EACH_MOMENTUM = {
    "OneCycle_list": ("sgd", {"base_momentum": [0.8, 0.7], "max_momentum": [0.9, 0.95]}),
    "OneCycle_dict": (
        "several",
        {"base_momentum": {"one": [0.8, 0.7], "two": [0.6]}, "max_momentum": {"one": [0.9, 0.95], "two": [0.9]}},
    ),
}


def make_optimizer(name):
    """One or several optimizers whose groups begin with different values."""

    def groups(*settings):
        return [{"params": [torch.nn.Parameter(torch.zeros(1))], **each} for each in settings]

    sgd = groups({"lr": 0.1, "momentum": 0.9}, {"lr": 0.02, "momentum": 0.8})
    if name == "sgd":
        return torch.optim.SGD(sgd, lr=0.1)
    if name == "nesterov":
        return torch.optim.SGD(groups({}), lr=0.05, momentum=0.95, nesterov=True)
    if name == "adam":
        return torch.optim.AdamW(groups({}, {"lr": 3e-4, "betas": (0.8, 0.99)}, {"lr": 1e-2}), lr=1e-3)
    return {"one": torch.optim.SGD(sgd, lr=0.1), "two": torch.optim.Adam(groups({}), lr=2e-3, betas=(0.5, 0.9))}


def make_cases():
    """name -> (class of the hook, its arguments, optimizer)."""
    plans = []
    for suffix, epochs, cycles, each, warm_ups in (
        ("LrUpdaterHook", RATES, CYCLES, EACH_GROUP, WARM_UPS | BY_EPOCHS),
        ("MomentumUpdaterHook", MOMENTA, MOMENTUM_CYCLES, EACH_MOMENTUM, WARM_UPS),
    ):
        plans += [(name, suffix, {**given[0], "by_epoch": True}, None, warm_ups) for name, given in epochs.items()]
        plans += [(name, suffix, {**given[1], "by_epoch": False}, None, warm_ups) for name, given in epochs.items()]
        plans += [(name, suffix, given, None, warm_ups) for name, given in cycles.items()]
        plans += [(name, suffix, given, optimizer, warm_ups) for name, (optimizer, given) in each.items()]
    cases, kinds = {}, ("sgd", "nesterov", "adam", "several")
    for name, suffix, given, optimizer, warm_ups in plans:
        for warm_up, more in warm_ups.items():
            unit = "epoch" if given.get("by_epoch") else "iter"
            kind = optimizer or kinds[len(cases) % len(kinds)]
            case = f"{name}{suffix.removesuffix('UpdaterHook')}-{unit}-{warm_up}-{kind}"
            assert case not in cases
            cases[case] = (name.partition("_")[0] + suffix, {**given, **more}, kind)
    return cases


CASES = make_cases()


class Walk:
    """What the hooks see of an epoch-based runner, without one."""

    def __init__(self, optimizer, n_epochs=N_EPOCHS):
        self.optimizer = optimizer
        self.data_loader = range(N_ITERS)
        self.epoch = self.iter = self.inner_iter = 0
        self.max_epochs, self.max_iters = n_epochs, n_epochs * N_ITERS

    def run(self, hooks, until=None):
        """The values of ``optimizer`` in each iteration, ``(steps, values)``: all rates, then all momenta."""
        until = self.max_iters if until is None else until
        rows = []
        for hook in hooks:
            hook.before_run(self)
        while self.iter < until:
            for hook in hooks:
                hook.before_train_epoch(self)
            for inner_iter in range(self.iter % N_ITERS, N_ITERS):
                self.inner_iter = inner_iter
                for hook in hooks:
                    hook.before_train_iter(self)
                rows.append(values_of(self.optimizer))
                self.iter += 1
                if self.iter == until:
                    break
            self.epoch = self.iter // N_ITERS
        return np.array(rows)


def groups_of(optimizer):
    optimizers = optimizer.values() if isinstance(optimizer, dict) else [optimizer]
    return [group for each in optimizers for group in each.param_groups]


def values_of(optimizer):
    groups = groups_of(optimizer)
    return [g["lr"] for g in groups] + [g["betas"][0] if "betas" in g else g["momentum"] for g in groups]


def curve(module, case):
    """The curve of a case, by the classes in `module`; what the hook leaves alone keeps its value."""
    name, arguments, kind = CASES[case]
    return Walk(make_optimizer(kind)).run([getattr(module, name)(**arguments)])


class Still(torch.nn.Module):
    """Trains nothing."""

    def train_step(self, data, optimizer, **kwargs):
        return {}


def curve_of_run(runner_module, case, by_iters=False):
    """The curve of a case in a run of the real runner of ``runner_module``."""
    name, arguments, kind = CASES[case]
    rows = []

    class Watch(runner_module.Hook):
        def before_train_iter(self, runner):
            rows.append(values_of(runner.optimizer))

    runner_type, length = ("IterBasedRunner", {"max_iters": N_STEPS}) if by_iters else ("EpochBasedRunner", {})
    logger = logging.getLogger("mmcv1_curves")
    logger.propagate = False
    runner = getattr(runner_module, runner_type)(
        Still(), optimizer=make_optimizer(kind), logger=logger, **(length or {"max_epochs": N_EPOCHS})
    )
    stem, _, suffix = name.partition("UpdaterHook")[0].partition("Lr" if "LrUpdater" in name else "Momentum")
    assert suffix == ""
    register = runner.register_lr_hook if "LrUpdater" in name else runner.register_momentum_hook
    register({"policy": stem, **arguments})
    runner.register_hook(Watch(), "LOWEST")
    with patch("time.sleep"):  # MMCV waits two seconds an epoch
        runner.run([[None] * N_ITERS], [("train", 1)])
    return np.array(rows)


def changing(case, values):
    """The columns that a case is about, of an array ``(steps, values)``."""
    rates, momenta = np.split(values, 2, axis=1)
    return rates if "LrUpdater" in CASES[case][0] else momenta


def digest(values):
    """Single values in turn of each column, and weighted sums over all of them, block by block."""
    n_columns = values.shape[1]
    points = [values[step, place % n_columns] for place, step in enumerate(POINTS)]
    weighted = values * WEIGHTS[:, None] * (1 + np.arange(n_columns) / 3)
    return np.array([*points, *weighted.reshape(N_BLOCKS, -1).sum(axis=1)])


def assert_digests_agree(found, expected, tolerance=1e-12):
    """`tolerance` is that of one value."""
    n = len(POINTS)
    np.testing.assert_allclose(found[:n], expected[:n], rtol=0, atol=tolerance)
    np.testing.assert_allclose(found[n:], expected[n:], rtol=0, atol=tolerance * WEIGHTS.sum() / N_BLOCKS)
