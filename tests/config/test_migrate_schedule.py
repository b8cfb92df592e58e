"""Migrated schedules give the learning rates that MMCV 1.x gave, iteration by iteration."""

import copy

import pytest
import torch
from old_schedules import values

from trainwright.config.migration import migrate
from trainwright.optim import SCHEDULES, OptimWrapper
from trainwright.strategies.schedulers import make_schedulers

BASE, N_EPOCHS, EPOCH_LENGTH = 0.1, 10, 7
N_ITERS = N_EPOCHS * EPOCH_LENGTH
LINEAR = {"warmup": "linear", "warmup_iters": 9, "warmup_ratio": 0.01}

# (old schedule, training by epoch): these are carried over exactly.
EXACT = [
    (dict(policy="fixed", **LINEAR), True),
    ({"policy": "step", "step": [6, 9]}, True),
    (dict(policy="step", step=[6, 9], gamma=0.5, **LINEAR), True),
    (dict(policy="step", step=[30, 60], **LINEAR), False),
    (dict(policy="step", step=[30, 60], by_epoch=False, **LINEAR), True),
    ({"policy": "step", "step": [6, 6, 9]}, True),
    ({"policy": "step", "step": [2, 4, 6, 8], "min_lr": 0.003}, True),
    ({"policy": "step", "step": 2, "gamma": 0.5, "min_lr": 0.01}, True),
    ({"policy": "Step", "step": [8], "warmup": "constant", "warmup_iters": 5, "warmup_ratio": 0.3}, True),
    ({"policy": "CosineAnnealing", "min_lr": 0}, True),
    (dict(policy="CosineAnnealing", min_lr=0, **LINEAR), True),
    (dict(policy="CosineAnnealing", min_lr=0, by_epoch=False, **LINEAR), True),
    (dict(policy="CosineAnnealing", min_lr=0, **LINEAR), False),
    ({"policy": "CosineAnnealing", "min_lr_ratio": 0.05}, False),
    ({"policy": "CosineAnnealing", "min_lr": 0.002}, True),
    ({"policy": "CosineAnnealing", "min_lr": 0.002, "warmup": "linear", "warmup_iters": 6, "warmup_ratio": 0.01}, True),
    ({"policy": "FlatCosineAnnealing", "min_lr_ratio": 0.05}, True),
    (dict(policy="FlatCosineAnnealing", start_percent=0.5, min_lr=0.0, **LINEAR), False),
    ({"policy": "cyclic", "target_ratio": (8, 1e-3), "step_ratio_up": 0.3}, False),
    ({"policy": "cyclic", "target_ratio": (8, 1e-3), "cyclic_times": 3, "gamma": 0.7}, False),
    ({"policy": "LinearAnnealing", "min_lr_ratio": 0.2}, True),
    (dict(policy="step", step=3, gamma=0.5, **LINEAR), True),
    (dict(policy="exp", gamma=0.9, **LINEAR), True),
    ({"policy": "exp", "gamma": 0.97, "warmup": "exp", "warmup_iters": 8, "warmup_ratio": 0.02}, False),
    ({"policy": "poly", "power": 0.9, "min_lr": 1e-3}, False),
    ({"policy": "poly", "power": 0.9, "min_lr": 1e-3}, True),
    (dict(policy="poly", power=2.0, min_lr=0.0, **LINEAR), False),
    ({"policy": "LinearAnnealing", "min_lr": 0.02}, False),
    (dict(policy="CosineRestart", periods=[20, 50], restart_weights=[1, 0.5], min_lr=0.0, **LINEAR), False),
    ({"policy": "CosineRestart", "periods": [4, 6], "restart_weights": [1, 0.5], "min_lr_ratio": 0.1}, True),
    ({"policy": "CosineRestart", "periods": [20, 30, 20], "restart_weights": [1, 0.5, 0.2], "min_lr": 0.01}, False),
    ({"policy": "cyclic", "target_ratio": (8, 1e-3), "cyclic_times": 2, "anneal_strategy": "linear"}, False),
    ({"policy": "OneCycle", "max_lr": 0.4}, False),
    ({"policy": "OneCycle", "max_lr": 0.4, "anneal_strategy": "linear", "pct_start": 0.25, "div_factor": 10}, True),
]
# (old schedule, by epoch, largest difference as a share of the base value): each of these has a note.
NEAR = [
    (
        {
            "policy": "step",
            "step": [8],
            "warmup": "linear",
            "warmup_iters": 2,
            "warmup_ratio": 0.01,
            "warmup_by_epoch": True,
        },
        True,
        0.08,
    ),
    (dict(policy="CosineAnnealing", min_lr=0.01, by_epoch=False, **LINEAR), True, 0.01),
    (dict(policy="CosineAnnealing", min_lr_ratio=0.1, **LINEAR), False, 0.01),
    ({"policy": "cyclic", "target_ratio": (8, 1e-3), "step_ratio_up": 0.3}, True, 0.6),
    ({"policy": "poly", "power": 0.9, "min_lr": 1e-3, "by_epoch": False}, True, 0.03),
    (dict(policy="poly", power=0.9, min_lr=1e-2, **LINEAR), False, 0.03),
]


def migrated(lr_config, by_epoch):
    runner = {"type": "EpochBasedRunner", "max_epochs": N_EPOCHS}
    if not by_epoch:
        runner = {"type": "IterBasedRunner", "max_iters": N_ITERS}
    old = {"optimizer": {"type": "SGD", "lr": BASE}, "lr_config": copy.deepcopy(lr_config), "runner": runner}
    result = migrate({**old, "default_scope": "mmengine"})
    return result.tree.get("param_scheduler", []), [note.key for note in result.notes]


def simulated(schedulers, by_epoch, make):
    """The learning rate of each iteration; ``make`` builds the schedulers of an optimizer."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    epochs = N_EPOCHS if by_epoch else None
    length = EPOCH_LENGTH if by_epoch else None
    built = make(schedulers, optimizer, {"epoch_length": length, "max_epochs": epochs, "max_iters": N_ITERS})
    rates = []
    for i in range(N_ITERS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in built:
            if not scheduler.by_epoch or (by_epoch and (i + 1) % EPOCH_LENGTH == 0):
                scheduler.step()
    return rates


def available(cases):
    """Those whose schedulers this version has."""
    names = [[item["type"].removesuffix("LR") for item in migrated(*case[:2])[0]] for case in cases]
    return [case for case, used in zip(cases, names, strict=True) if all(name in SCHEDULES for name in used)]


def ours(schedulers, optimizer, horizon):
    return make_schedulers(schedulers, OptimWrapper(optimizer), horizon)


def mmengines(schedulers, optimizer, horizon):
    """As its Runner builds them."""
    pytest.importorskip("mmengine")
    import mmengine.optim  # noqa: F401
    from mmengine.registry import PARAM_SCHEDULERS

    built = []
    for item in copy.deepcopy(schedulers):
        end = horizon["max_epochs" if item.get("by_epoch", True) else "max_iters"]
        if end is not None:
            item.setdefault("end", end)
        if item.pop("convert_to_iter_based", False):
            cls = PARAM_SCHEDULERS.get(item.pop("type"))
            built.append(cls.build_iter_from_epoch(optimizer=optimizer, epoch_length=horizon["epoch_length"], **item))
        else:
            built.append(PARAM_SCHEDULERS.build({**item, "optimizer": optimizer}))
    return built


def expected(lr_config, by_epoch):
    return values(lr_config, BASE, N_EPOCHS, EPOCH_LENGTH, by_epoch)


@pytest.mark.parametrize(("lr_config", "by_epoch"), available(EXACT), ids=str)
def test_the_same_values(lr_config, by_epoch):
    schedulers, notes = migrated(lr_config, by_epoch)
    assert simulated(schedulers, by_epoch, ours) == pytest.approx(expected(lr_config, by_epoch), rel=1e-9, abs=1e-15)
    assert [key for key in notes if key != "lr_config.warmup"] == []


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")  # MMEngine's own
@pytest.mark.parametrize(("lr_config", "by_epoch"), EXACT, ids=str)
def test_the_same_values_from_mmengine(lr_config, by_epoch):
    schedulers, notes = migrated(lr_config, by_epoch)
    rates = simulated(schedulers, by_epoch, mmengines)
    assert rates == pytest.approx(expected(lr_config, by_epoch), rel=1e-9, abs=1e-15)
    assert [key for key in notes if key != "lr_config.warmup"] == []


@pytest.mark.parametrize(("lr_config", "by_epoch", "share"), available(NEAR), ids=str)
def test_nearly_the_same_values_are_noted(lr_config, by_epoch, share):
    schedulers, notes = migrated(lr_config, by_epoch)
    assert any(key.startswith("lr_config.") for key in notes)
    check_near(simulated(schedulers, by_epoch, ours), expected(lr_config, by_epoch), share)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")  # MMEngine's own
@pytest.mark.parametrize(("lr_config", "by_epoch", "share"), NEAR, ids=str)
def test_nearly_the_same_values_from_mmengine(lr_config, by_epoch, share):
    schedulers, _ = migrated(lr_config, by_epoch)
    check_near(simulated(schedulers, by_epoch, mmengines), expected(lr_config, by_epoch), share)


def check_near(rates, old, share):
    difference = max(abs(rate - was) for rate, was in zip(rates, old, strict=True))
    assert 0 < difference <= share * BASE
