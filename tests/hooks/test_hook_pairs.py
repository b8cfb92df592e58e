"""Hooks alone and in pairs, on both loops: what only watches changes nothing, and a run in parts is a run in one."""

import copy
import gc

import pytest
from hook_runs import LOOPS, SGD, config, half_of_loops, hook_of, state_of, stop, train, trained

from trainwright.engine import Event
from trainwright.hooks import LossGuardHook
from trainwright.testing.toys import differences, toy_loader

loops = pytest.mark.parametrize("loop", list(LOOPS))

HOOKS = {
    "ema": {"type": "EMAHook", "momentum": 0.1},
    "late ema": {"type": "EMAHook", "momentum": 0.1, "begin_iter": 7},
    "early": {"type": "EarlyStoppingHook", "monitor": "scripted/acc", "patience": 2},
    "freeze": {"type": "FreezeHook", "modules": ["first", "norm"], "begin": 3, "end": 9, "by_epoch": False},
    "norms": {"type": "GradNormHook", "modules": ["first", "second"], "weights": True},
    "norms sometimes": {"type": "GradNormHook", "interval": 3},
    "throughput": {"type": "ThroughputHook", "tokens": "inputs", "peak_flops": 1e9},
    "sync": {"type": "SyncBuffersHook"},
    "time": {"type": "MaxTimeHook", "max_time": "1d"},
    "memory": {"type": "MemoryReportHook"},
    "garbage": {"type": "GarbageCollectionHook", "interval": 3},
    "empty": {"type": "EmptyCacheHook", "after_iter": True, "before_epoch": True},
    "profiler": {"type": "ProfilerHook", "by_epoch": False, "profile_times": 3},
    "guard": {"type": "LossGuardHook", "policy": "skip"},
}
WATCHING = ("norms", "norms sometimes", "throughput", "sync", "time", "memory", "garbage", "empty", "profiler", "guard")
# What is no hook of its own, and what comes with one.
SETTINGS = {
    "best": {"checkpoint": {"save_best": "real/ce", "rule": "less"}},
    "plateau": {
        "param_scheduler": {
            "type": "ReduceOnPlateauLR",
            "monitor": "scripted/acc",
            "rule": "greater",
            "patience": 0,
            "factor": 0.5,
        }
    },
    "clip": {"optim_wrapper": {"optimizer": SGD, "clip_grad": {"max_norm": 0.5}}},
    "amp": {
        "optim_wrapper": {
            "type": "AmpOptimWrapper",
            "dtype": "float32",
            "loss_scale": {"init_scale": 64.0, "growth_interval": 5},
            "optimizer": SGD,
        }
    },
    "accumulation": {"optim_wrapper": {"optimizer": SGD, "accumulative_counts": 2}},
    "validation by loss": {"val_cfg": {}, "model": {"type": "ToyWithNorm", "noisy_eval": True}},
    "early": {"script": (1.0, 1.0, 1.0, 1.0)},
}
PAIRS = [
    ("ema", "best"),
    ("late ema", "best"),
    ("early", "best"),
    ("early", "plateau"),
    ("early", "ema"),
    ("freeze", "ema"),
    ("freeze", "late ema"),
    ("freeze", "norms"),
    ("freeze", "throughput"),
    ("freeze", "clip"),
    ("freeze", "accumulation"),
    ("sync", "ema"),
    ("sync", "best"),
    ("time", "best"),
    ("time", "ema"),
    ("time", "accumulation"),
    ("throughput", "validation by loss"),
    ("throughput", "accumulation"),
    ("memory", "profiler"),
    ("profiler", "ema"),
    ("garbage", "time"),
    ("norms", "clip"),
    ("norms", "amp"),
    ("norms sometimes", "accumulation"),
    ("norms", "norms sometimes"),
    ("ema", "accumulation"),
    ("ema", "amp"),
    ("ema", "plateau"),
    ("empty", "ema"),
    ("empty", "profiler"),
]
GUARDED = [
    *(
        "accumulation",
        "ema",
        "late ema",
        "best",
        "early",
        "plateau",
        "freeze",
        "norms",
        "norms sometimes",
        "throughput",
    ),
    *("sync", "time", "garbage", "clip", "amp", "memory"),
]


def settings_of(names):
    """The hooks of these names, and the changes to the config."""
    changes = {}
    for name in names:
        changes.update(SETTINGS.get(name, {}))
    return [HOOKS[name] for name in names if name in HOOKS], changes


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Gives the states at the end of the run with some of them in one piece, which is done once."""
    done = {}

    def run(loop, names):
        key = (loop, *names)
        if key not in done:
            hooks, changes = settings_of(names)
            runner = train(config(tmp_path_factory.mktemp("whole"), loop, *hooks, **changes))
            done[key] = state_of(runner), copy.deepcopy(trained(runner))
        return done[key]

    return run


def check_in_parts(folder, whole, loop, names, event=Event.AFTER_TRAIN_ITER, nth=6):
    """In two parts it is the run in one piece; what only watches can be left out."""
    hooks, changes = settings_of(names)
    cfg = config(folder, loop, *hooks, **changes)
    stop(cfg, event, nth)
    rest = train(cfg, resume=True)
    state, weights = whole(loop, names)
    assert not differences(state_of(rest), state)
    assert gc.isenabled()
    _, without = whole(loop, tuple(name for name in names if name not in WATCHING))
    assert not differences(weights, without)


@half_of_loops
@pytest.mark.parametrize("name", list(dict.fromkeys([*HOOKS, *SETTINGS])))
def test_alone(tmp_path, whole, loop, name):
    check_in_parts(tmp_path, whole, loop, (name,))


@half_of_loops
@pytest.mark.parametrize("pair", [*PAIRS, *(("guard", name) for name in GUARDED)], ids="-".join)
def test_in_pairs(tmp_path, whole, loop, pair):
    check_in_parts(tmp_path, whole, loop, pair)


@loops
@pytest.mark.parametrize(
    ("event", "nth"), [(Event.AFTER_VAL_ITER, 3), (Event.AFTER_VAL_EPOCH, 1), (Event.AFTER_SAVE_CHECKPOINT, 2)]
)
@pytest.mark.parametrize("pair", [("ema", "best"), ("early", "plateau")], ids="-".join)
def test_stopped_around_a_validation(tmp_path, whole, loop, pair, event, nth):
    check_in_parts(tmp_path, whole, loop, pair, event, nth)


@half_of_loops
@pytest.mark.parametrize(
    ("policy", "other"),
    [*(("skip", name) for name in GUARDED), *(("rollback", name) for name in ("accumulation", "ema", "best", "amp"))],
)
def test_the_way_back_from_a_bad_step_leaves_no_trace(tmp_path, loop, policy, other):
    """A sample makes one step of each epoch bad, which is found later, gone back from and left out. Everything is as in
    a run that leaves out the same batches from the first."""
    hooks, changes = settings_of([other])
    changes["train_dataloader"] = toy_loader(16, 4, noise=0.2, nan_at=5)

    def run(name, *guards):
        runner = train(config(tmp_path / name, loop, *guards, *hooks, **changes))
        guard = hook_of(runner, LossGuardHook)
        state = state_of(runner)
        del state["hooks"]["LossGuardHook"]
        return guard, state

    guard, state = run("found", {"type": "LossGuardHook", "policy": policy})
    n_epochs = state["clock"]["iter"] // 4
    assert len(guard.events) == len(guard.skipped) == n_epochs
    told = LossGuardHook(policy)
    told.skipped = set(guard.skipped)
    same, expected = run("told", told)
    assert not same.events
    assert not differences(state, expected)
