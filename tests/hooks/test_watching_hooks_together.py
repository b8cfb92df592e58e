"""The hooks that watch a run, two by two and all at once: on both loops, in parts, and without a read in between."""

import gc
from itertools import combinations

import pytest
from hook_runs import half_of_loops

from trainwright.base.errors import Interrupted
from trainwright.engine import Event
from trainwright.runner import Runner
from trainwright.testing.host_reads import count_host_reads
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import differences, toy_config, toy_loader

LOOPS = {
    "epochs": {"by_epoch": True, "max_epochs": 2},
    "iters": {"type": "IterBasedTrainLoop", "max_iters": 8, "val_interval": 4},
}
HOOKS = {
    "throughput": {"type": "ThroughputHook", "tokens": "inputs", "peak_flops": 1e9},
    "norms": {"type": "GradNormHook", "modules": ["first", "second"], "weights": True},
    "time": {"type": "MaxTimeHook", "max_time": "1d"},
    "garbage": {"type": "GarbageCollectionHook", "interval": 3},
    "freeze": {"type": "FreezeHook", "modules": "first", "begin": 2, "end": 5, "by_epoch": False},
    "memory": {"type": "MemoryReportHook"},
    "ema": {"type": "EMAHook", "momentum": 0.1},
}


def make(work_dir, names, *more, **changes) -> Runner:
    base = {
        "model": {"type": "ToyModel", "dropout": 0.2},
        "train_dataloader": toy_loader(16, 4, noise=0.2),
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}, "accumulative_counts": 2},
        "default_hooks": {"logger": {"type": "LoggerHook", "interval": 2}},
        "custom_hooks": [*(dict(HOOKS[name]) for name in names), *more],
    }
    return Runner.from_cfg(toy_config(work_dir, **{**base, **changes}))


def state_of(runner):
    """What must be the same: weights, optimizer, and every curve that is no time or amount of memory."""
    runner.ctx.metrics.flush()
    changing = ("time", "_per_s", "mfu", "memory")
    scalars = runner.message_hub.log_scalars
    curves = {k: v.data[0].tolist() for k, v in scalars.items() if not any(word in k for word in changing)}
    return {**runner.strategy.state_tree(), "curves": curves}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Final weights with neither of the hooks that change them, and with each of these, by loop."""
    found = {}
    for loop, train_cfg in LOOPS.items():
        for names in ((), ("freeze",)):
            runner = make(tmp_path_factory.mktemp("plain"), names, train_cfg=train_cfg)
            runner.train()
            found[loop, names] = runner.strategy.state_tree()
    return found


@half_of_loops
@pytest.mark.parametrize("pair", list(combinations(HOOKS, 2)), ids="-".join)
def test_in_pairs_and_in_parts(tmp_path, plain, loop, pair):
    """Only freezing changes what is trained; and a run in two parts is the run in one, curves included."""
    whole = make(tmp_path / "whole", pair, train_cfg=LOOPS[loop])
    whole.train()
    expected = plain[loop, ("freeze",) if "freeze" in pair else ()]
    assert not differences(whole.strategy.state_tree(), expected)
    with pytest.raises(Interrupted):
        make(tmp_path / "parts", pair, StopAt(Event.AFTER_TRAIN_ITER, 4), train_cfg=LOOPS[loop]).train()
    last = make(tmp_path / "parts", pair, train_cfg=LOOPS[loop], resume=True)
    last.train()
    assert not differences(state_of(last), state_of(whole))
    assert gc.isenabled()


@pytest.mark.parametrize("loop", list(LOOPS))
def test_all_at_once(tmp_path, plain, loop):
    runner = make(tmp_path, HOOKS, train_cfg=LOOPS[loop])
    runner.train()
    assert not differences(runner.strategy.state_tree(), plain[loop, ("freeze",)])
    names = {name.removeprefix("train/") for name in runner.message_hub.log_scalars}
    assert names >= {
        *("samples_per_s", "tokens_per_s", "tokens", "tflops_per_s", "mfu", "host_memory_peak_mb"),
        *("grad_norm", "grad_norm/first", "grad_norm/second", "weight_norm", "weight_norm/first"),
    }


@pytest.mark.parametrize("loop", list(LOOPS))
def test_nothing_is_read_between_two_lines(tmp_path, loop):
    totals = []
    changes = {"val_dataloader": None, "val_cfg": None, "val_evaluator": None, "train_cfg": LOOPS[loop]}
    for names in ((), [name for name in HOOKS if name != "ema"]):
        runner = make(tmp_path / str(len(names)), names, **changes)
        with count_host_reads() as reads:
            runner.train()
        totals.append(reads.total)
    assert totals[0] == totals[1], reads.report()
