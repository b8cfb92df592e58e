"""Every hook of the package in one run, on both loops, with workers, and in parts that end inside an epoch."""

import gc
import sys
from types import ModuleType, SimpleNamespace

import pytest
from hook_runs import LOOPS, SGD, best_file, config, half_of_loops, hook_of, state_of, stop, train, trained

from trainwright import hooks
from trainwright.checkpoint import read_file
from trainwright.engine import Event, Hook
from trainwright.hooks import EMAHook, LossGuardHook
from trainwright.runner import Runner
from trainwright.testing.host_reads import count_host_reads
from trainwright.testing.toys import differences, toy_loader

# On a machine of one core torch advises against two workers.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
loops = pytest.mark.parametrize("loop", list(LOOPS))

# Those that change what is trained or validated, and those that only watch.
ACTIVE = [
    {"type": "EMAHook", "momentum": 0.1, "begin_iter": 3},
    {"type": "EarlyStoppingHook", "monitor": "scripted/acc", "patience": 2},
    {"type": "FreezeHook", "modules": ["first", "norm"], "begin": 3, "end": 9, "by_epoch": False},
]
WATCHING = [
    {"type": "SyncBuffersHook"},
    {"type": "DistSamplerSeedHook"},
    {"type": "EmptyCacheHook", "after_iter": True},
    {"type": "GarbageCollectionHook", "interval": 3},
    {"type": "GradNormHook", "interval": 2, "modules": ["first", "second"], "weights": True},
    {"type": "IterTimerHook"},
    {"type": "LossGuardHook", "policy": "skip"},
    {"type": "MaxTimeHook", "max_time": "1d"},
    {"type": "MemoryReportHook"},
    {"type": "DesyncCheckHook", "interval": 2},
    {"type": "NPUProfilerHook", "begin": 1, "end": 3, "exit_after_profiling": False},
    {"type": "NaiveVisualizationHook"},
    {"type": "PrepareTTAHook", "tta_cfg": {"type": "BaseTTAModel"}},
    {"type": "ProfilerHook", "by_epoch": False, "profile_times": 3},
    {"type": "ThroughputHook", "tokens": "inputs", "peak_flops": 1e9},
]
BY_DEFAULT = {"RuntimeInfoHook", "ParamSchedulerHook", "LoggerHook", "CheckpointHook"}
ALREADY = {"DistSamplerSeedHook", "IterTimerHook"}  # by default as well


@pytest.fixture(autouse=True, scope="module")
def torch_npu():
    """A profiler that does nothing, for the hook that needs one."""
    module = ModuleType("torch_npu")
    quiet = SimpleNamespace(__enter__=lambda: None, __exit__=lambda *error: None)
    module.npu = SimpleNamespace(profile=lambda path, use_e2e_profiler: quiet)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch_npu", module)
        yield


def everything(folder, loop, watching=True, **changes):
    chosen = [*ACTIVE, *(hook for hook in WATCHING if watching and hook["type"] not in ALREADY)]
    for hook in chosen:
        if hook["type"] == "NPUProfilerHook":
            hook["result_path"] = str(folder / "npu")
    base = {
        "script": (1.0, 2.0, 2.0, 2.0),
        "checkpoint": {"save_best": "real/ce", "rule": "less", "published_keys": ["state_dict"]},
        "train_dataloader": toy_loader(16, 4, noise=0.2, num_workers=2),
        "optim_wrapper": {"optimizer": SGD, "accumulative_counts": 2, "clip_grad": {"max_norm": 1.0}},
        "param_scheduler": {
            **{"type": "ReduceOnPlateauLR", "monitor": "scripted/acc", "rule": "greater"},
            **{"patience": 0, "factor": 0.5},
        },
    }
    return config(folder, loop, *chosen, **{**base, **changes})


def test_no_hook_is_left_out():
    kinds = {name for name in hooks.__all__ if isinstance(getattr(hooks, name), type)}
    kinds = {name for name in kinds if issubclass(getattr(hooks, name), Hook)} - {"Hook"}
    chosen = {hook["type"] for hook in [*ACTIVE, *WATCHING]}
    assert chosen | BY_DEFAULT == kinds


@pytest.fixture(scope="module")
def whole(tmp_path_factory, torch_npu):
    """The run with all of them in one piece, by loop."""
    found = {loop: train(everything(tmp_path_factory.mktemp(loop), loop)) for loop in LOOPS}
    return found, {loop: state_of(runner) for loop, runner in found.items()}


@loops
def test_what_watches_changes_nothing(tmp_path, whole, loop):
    without = train(everything(tmp_path, loop, watching=False))
    runner = whole[0][loop]
    assert not differences(trained(without), trained(runner))
    averages = [hook_of(one, EMAHook).ema_model.state_dict() for one in (without, runner)]
    assert not differences(*map(dict, averages))
    assert without.message_hub.get_info("best_score") == runner.message_hub.get_info("best_score")


@half_of_loops
@pytest.mark.parametrize(
    ("event", "nth"),
    [
        (Event.AFTER_TRAIN_ITER, 6),
        (Event.AFTER_VAL_ITER, 3),
    ],
)
def test_in_parts(tmp_path, whole, loop, event, nth):
    cfg = everything(tmp_path, loop)
    stop(cfg, event, nth)
    rest = train(cfg, resume=True)
    one, other = state_of(rest), whole[1][loop]
    assert not differences(files_apart(one), files_apart(other))
    assert gc.isenabled()


def files_apart(state):
    """Where it was stopped a file more was kept for a while: which ones are left is compared elsewhere."""
    hooks = dict(state["hooks"])
    hooks["CheckpointHook"] = hooks["CheckpointHook"]["bests"]
    return {**{name: value for name, value in state.items() if name != "files"}, "hooks": hooks}


@half_of_loops
def test_in_many_parts(tmp_path, whole, loop):
    cfg = everything(tmp_path, loop)
    stop(cfg, Event.AFTER_TRAIN_ITER, 2)
    for event, nth in [(Event.AFTER_TRAIN_ITER, 3), (Event.AFTER_VAL_ITER, 1), (Event.AFTER_VAL_EPOCH, 1)]:
        stop(cfg, event, nth, resume=True)
    rest = train(cfg, resume=True)
    assert not differences(files_apart(state_of(rest)), files_apart(whole[1][loop]))


@half_of_loops
def test_the_way_back_from_bad_steps_leaves_no_trace(tmp_path, loop):
    """A sample makes one step of each epoch bad. Everything is as in a run that leaves out the same batches at once."""
    loader = toy_loader(16, 4, noise=0.2, nan_at=5, num_workers=2)

    def run(name, skipped=None):
        cfg = everything(tmp_path / name, loop, train_dataloader=loader)
        if skipped is not None:
            told = LossGuardHook(policy="skip")
            told.skipped = set(skipped)
            cfg["custom_hooks"] = [told if h["type"] == "LossGuardHook" else h for h in cfg["custom_hooks"]]
        runner = train(cfg)
        state = state_of(runner)
        del state["hooks"]["LossGuardHook"]
        return hook_of(runner, LossGuardHook), state

    guard, state = run("found")
    assert len(guard.events) == len(guard.skipped) == 4
    same, expected = run("told", guard.skipped)
    assert not same.events
    assert not differences(state, expected)


@loops
def test_the_best_file_is_that_of_the_average(tmp_path, whole, loop):
    runner = whole[0][loop]
    held = read_file(best_file(runner))
    assert {"state_dict", "ema_state_dict", "hooks", "optimizer"} <= set(held)
    again = Runner.from_cfg(config(tmp_path, loop, load_from=best_file(runner)))
    assert again.val()["real/ce"] == runner.message_hub.get_info("best_score")


@loops
def test_it_stops_early_and_says_what_it_measured(whole, loop):
    runner = whole[0][loop]
    assert runner.iter == 16  # the fourth value is the second without an improvement
    names = {name.removeprefix("train/") for name in runner.message_hub.log_scalars}
    assert names >= {
        *("loss", "lr", "time", "data_time", "grad_norm", "grad_norm/first", "grad_norm/second", "weight_norm"),
        *("samples_per_s", "tokens_per_s", "tokens", "tflops_per_s", "mfu", "host_memory_peak_mb"),
    }
    frozen = runner.message_hub.log_scalars["train/grad_norm/first"].data[0]
    assert 0 < len(frozen) < len(runner.message_hub.log_scalars["train/grad_norm/second"].data[0])


@loops
def test_nothing_is_read_between_two_lines(tmp_path, loop):
    totals = []
    for name, watching in (("without", False), ("with", True)):
        cfg = everything(tmp_path / name, loop, watching, train_dataloader=toy_loader(16, 4))
        # The guard reads too, when the lines are written, for the copies of the state that it keeps.
        cfg["custom_hooks"] = [hook for hook in cfg["custom_hooks"] if hook["type"] != "LossGuardHook"]
        with count_host_reads() as reads:
            train(cfg)
        totals.append(reads.total)
    assert totals[0] == totals[1], reads.report()
