"""MMEngine's hooks all at once, on both loops and across a resume."""

import pytest

from trainwright.base.errors import Interrupted
from trainwright.engine import Event
from trainwright.runner import Runner
from trainwright.testing.host_reads import count_host_reads
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import differences, toy_config, toy_loader

LOOPS = {
    "epochs": {"by_epoch": True, "max_epochs": 8},
    "iterations": {"by_epoch": False, "max_iters": 32, "val_interval": 4},
}
ACC = [1, 2, 3, 3, 3, 3, 3, 3]
loops = pytest.mark.parametrize("loop", list(LOOPS))


def config(folder, loop, script=ACC, **changes):
    by_epoch = loop == "epochs"
    checkpoint = {
        **{"type": "CheckpointHook", "by_epoch": by_epoch, "interval": 1 if by_epoch else 4, "max_keep_ckpts": 2},
        **{"save_best": "auto", "published_keys": ["meta", "state_dict"], "filename_tmpl": "state_{}"},
    }
    hooks = [
        {"type": "EMAHook", "momentum": 0.1},
        {"type": "EarlyStoppingHook", "monitor": "toy/acc", "patience": 3},
        {"type": "SyncBuffersHook"},
        {"type": "EmptyCacheHook", "after_iter": True},
        {"type": "ProfilerHook", "by_epoch": False, "profile_times": 2, "json_trace_path": str(folder / "trace.json")},
        {"type": "NaiveVisualizationHook"},
        *changes.pop("custom_hooks", []),
    ]
    return toy_config(
        folder,
        model={"type": "ToyModel", "dropout": 0.2},
        train_dataloader=toy_loader(noise=0.1),
        train_cfg=LOOPS[loop],
        val_evaluator={"type": "ScriptedMetric", "acc": script},
        default_hooks={"checkpoint": checkpoint},
        custom_hooks=hooks,
        **changes,
    )


def train(cfg):
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


@loops
def test_the_same_with_a_resume_and_without(tmp_path, loop):
    whole = train(config(tmp_path / "whole", loop))
    with pytest.raises(Interrupted):
        train(config(tmp_path / "parts", loop, custom_hooks=[StopAt(Event.AFTER_TRAIN_ITER, 18)]))
    rest = train(config(tmp_path / "parts", loop, ACC[4:], resume=True))
    assert whole.iter == rest.iter == 24
    assert not differences(dict(whole.model.state_dict()), dict(rest.model.state_dict()))
    states = [runner._stateful_hooks() for runner in (whole, rest)]
    for name in ("EarlyStoppingHook", "SyncBuffersHook"):
        assert states[0][name].state_dict() == states[1][name].state_dict()
    average = [next(h for h in runner.hooks if type(h).__name__ == "EMAHook").ema_model for runner in (whole, rest)]
    assert not differences(dict(average[0].state_dict()), dict(average[1].state_dict()))


@loops
def test_no_host_read_is_theirs(tmp_path, loop):
    with count_host_reads() as reads:
        train(config(tmp_path, loop))
    own = ("early_stopping", "sync_buffer", "empty_cache", "profiler_hook", "naive_visualization", "prepare_tta")
    assert not [where for _, where in reads.sites if any(name in where for name in own)]
