import inspect
import json
import logging
from types import SimpleNamespace
from unittest.mock import Mock, call

import pytest
import torch
from torch import distributed as torch_dist
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from trainwright.base.errors import TrainwrightError
from trainwright.compat.mmcv1.runner.hooks.closure import ClosureHook
from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS
from trainwright.compat.mmcv1.runner.hooks.iter_timer import IterTimerHook
from trainwright.compat.mmcv1.runner.hooks.memory import EmptyCacheHook
from trainwright.compat.mmcv1.runner.hooks.profiler import ProfilerHook
from trainwright.compat.mmcv1.runner.hooks.sampler_seed import DistSamplerSeedHook
from trainwright.compat.mmcv1.runner.hooks.sync_buffer import SyncBuffersHook
from trainwright.testing.ranks import run_ranks

HOOK_CLASSES = [ClosureHook, IterTimerHook, EmptyCacheHook, ProfilerHook, DistSamplerSeedHook, SyncBuffersHook]


@pytest.mark.parametrize("cls", HOOK_CLASSES)
def test_hooks_are_registered(cls):
    assert HOOKS.get(cls.__name__) is cls


@pytest.mark.mmcv1
@pytest.mark.filterwarnings("ignore")  # MMCV's own warnings
@pytest.mark.parametrize("cls", HOOK_CLASSES)
def test_parameters_are_those_of_mmcv(cls, real_mmcv):
    def listed(hook):
        return [(p.name, p.default, p.kind) for p in inspect.signature(hook).parameters.values()]

    assert listed(cls) == listed(getattr(real_mmcv.runner.hooks, cls.__name__))


def test_a_closure():
    seen = []
    hook = ClosureHook("after_train_iter", seen.append)
    hook.after_train_iter("runner")
    hook.before_train_iter("runner")
    assert seen == ["runner"]


def test_closures_that_are_refused():
    with pytest.raises(AssertionError, match="must be a stage of a run, got 'after_train'.*Did you mean") as error:
        ClosureHook("after_train", print)
    assert isinstance(error.value, TrainwrightError)
    with pytest.raises(AssertionError, match="must be a function of the runner, got 3"):
        ClosureHook("before_run", 3)


def test_times(monkeypatch):
    now = iter([0.0, 10.0, 11.0, 15.0, 15.5, 18.0, 20.0, 20.0])
    monkeypatch.setattr("trainwright.compat.mmcv1.runner.hooks.iter_timer.perf_counter", lambda: next(now))
    runner = Mock()
    hook = IterTimerHook()
    hook.before_train_epoch(runner)
    hook.before_train_iter(runner)
    hook.after_train_iter(runner)
    hook.before_val_iter(runner)
    hook.after_val_iter(runner)
    assert runner.log_buffer.update.mock_calls == [
        call({"data_time": 1.0}),
        call({"time": 5.0}),
        call({"data_time": 2.5}),
        call({"time": 4.5}),
    ]


@pytest.mark.parametrize("when", ["before_epoch", "after_epoch", "after_iter"])
def test_emptying_the_cache(monkeypatch, when):
    empty = Mock()
    monkeypatch.setattr(torch.cuda, "empty_cache", empty)
    hook = EmptyCacheHook(**{"before_epoch": False, "after_epoch": False, "after_iter": False, when: True})
    called = []
    for stage in hook.stages:
        getattr(hook, stage)(None)
        if empty.call_count:
            called.append(stage)
        empty.reset_mock()
    assert called == [stage for stage in hook.stages if stage.startswith(when[:6]) and stage.endswith(when[-4:])][:2]
    assert called[0] != called[1]
    assert hook.idle_at("after_val_iter") == (when != "after_iter")
    assert not hook.idle_at("after_train_epoch")


def test_a_subclass_is_never_idle():
    class Own(EmptyCacheHook):
        def after_iter(self, runner):
            pass

    assert not Own().idle_at("after_train_iter")


class EpochSampler(SequentialSampler):
    epoch = None

    def set_epoch(self, epoch):
        self.epoch = epoch


def test_the_sampler_is_told_the_epoch():
    data = list(range(4))
    plain, inner = EpochSampler(data), EpochSampler(data)
    in_batches = DataLoader(data, batch_sampler=BatchSampler(inner, 2, drop_last=False))
    for loader in (DataLoader(data, sampler=plain), in_batches, DataLoader(data), SimpleNamespace()):
        DistSamplerSeedHook().before_train_epoch(SimpleNamespace(data_loader=loader, epoch=7))
    assert (plain.epoch, inner.epoch) == (7, 7)


def _averages(distributed, rank=None):
    rank = torch_dist.get_rank() if rank is None else rank
    model = torch.nn.BatchNorm1d(1)
    model.running_mean.fill_(rank)
    model.num_batches_tracked.fill_(4 + rank)
    runner = SimpleNamespace(model=model)
    hook = SyncBuffersHook(distributed=distributed)
    hook.after_train_epoch(runner)
    return float(model.running_mean), int(model.num_batches_tracked)


def test_buffers_of_ranks():
    assert run_ranks(2, _averages, True) == [(0.5, 4), (0.5, 4)]
    assert run_ranks(2, _averages, False) == [(0.0, 4), (1.0, 5)]
    assert _averages(True, rank=3) == (3.0, 7)


# --- the profiler


class Training:
    """Two epochs of three iterations, as the hook sees them."""

    def __init__(self, work_dir=None):
        self.work_dir = work_dir
        self.logger = logging.getLogger("training")
        self.max_epochs, self.max_iters = 2, 6
        self.epoch = self.iter = 0

    def run(self, hook, until=6):
        hook.before_run(self)
        while self.iter < until:
            torch.ones(3).sum()
            hook.after_train_iter(self)
            self.iter += 1
            if self.iter % 3 == 0:
                hook.after_train_epoch(self)
                self.epoch += 1
        hook.after_run(self)
        return self


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"by_epoch": 1}, AssertionError, "by_epoch should be a boolean, got 1"),
        ({"profile_iters": 0}, ValueError, "profile_iters should be greater than 0, got 0"),
        ({"activities": "cpu"}, ValueError, "activities should be a list, got 'cpu'"),
        ({"activities": ["CPU", "gpu"]}, ValueError, 'activity should be "cpu" or "cuda", got \'gpu\''),
        ({"schedule": 3}, TypeError, "schedule must be a dict, but got 3"),
        ({"schedule": {"waits": 1}}, TypeError, "schedule"),
    ],
)
def test_profiles_that_are_refused(arguments, kind, message):
    with pytest.raises(kind, match=f"ProfilerHook .*{message}") as error:
        ProfilerHook(**arguments)
    assert isinstance(error.value, TrainwrightError)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile_iters": 3}, "should not be greater than the runner's max_epochs, got 3 and 2"),
        ({"by_epoch": False, "profile_iters": 7}, "should not be greater than the runner's max_iters, got 7 and 6"),
        ({"on_trace_ready": 5}, "on_trace_ready must be a function or a dict, but got 5"),
        ({"on_trace_ready": {"type": "log_traces"}}, "Did you mean 'log_trace'"),
        ({"on_trace_ready": {"type": "log_trace", "rows": 3}}, "of type 'log_trace'"),
        ({"on_trace_ready": {"type": "tb_trace"}, "json_trace_path": "a"}, "writes the same trace"),
    ],
)
def test_profiles_that_do_not_fit_the_run(arguments, message):
    with pytest.raises(ValueError, match=message):
        ProfilerHook(**arguments).before_run(Training())


@pytest.mark.parametrize(("by_epoch", "n_iters"), [(True, 3), (False, 2)])
def test_what_is_profiled(by_epoch, n_iters, tmp_path):
    traces = []
    path = tmp_path / "traces" / "first.json"
    hook = ProfilerHook(
        by_epoch,
        3 - n_iters + 1 if by_epoch else n_iters,
        activities=["cpu"],
        on_trace_ready=lambda trace: traces.append({event.key: event.count for event in trace.key_averages()}),
        json_trace_path=str(path),
    )
    training = Training()
    training.max_epochs = 1 if by_epoch else 2
    training.run(hook)
    (counts,) = traces
    assert counts["aten::sum"] == n_iters
    assert json.loads(path.read_text(encoding="utf-8"))["traceEvents"]


def test_a_long_profile_is_warned_of():
    hook = ProfilerHook(activities=["cpu", "cuda"])
    with pytest.warns(UserWarning, match="records 1 of 2 epochs. That slows training down"):
        Training().run(hook)
    assert len(hook.activities) == 2


def test_a_profile_ends_with_the_run():
    ready = Mock()
    Training().run(ProfilerHook(False, 6, ["cpu"], on_trace_ready=ready), until=4)
    ready.assert_called_once()


def test_a_resumed_run_that_is_past_the_profile():
    """It is recorded for one iteration, and not for ever."""
    training = Training()
    training.epoch, training.iter = 1, 4
    ready = Mock()
    hook = ProfilerHook(False, 2, ["cpu"], on_trace_ready=ready)
    hook.before_run(training)
    hook.after_train_iter(training)
    ready.assert_called_once()
    hook.after_train_iter(training)
    hook.after_run(training)
    ready.assert_called_once()


def test_a_table_is_printed(capsys):
    hook = ProfilerHook(
        False,
        4,
        ["cpu"],
        schedule={"wait": 1, "warmup": 1, "active": 2},
        on_trace_ready={"type": "log_trace", "row_limit": 5},
    )
    Training().run(hook)
    out = capsys.readouterr().out
    assert out.count("Self CPU time total") == 1
    assert "aten::sum" in out


@pytest.mark.parametrize("name", [None, "here"])
def test_files_for_tensorboard(tmp_path, name):
    handler = {"type": "tb_trace"} if name is None else {"type": "tb_trace", "dir_name": name}
    Training(str(tmp_path)).run(ProfilerHook(False, 1, ["cpu"], on_trace_ready=handler))
    (folder,) = tmp_path.iterdir()
    assert folder.name == (name or "tf_tracing_logs")
    (file,) = folder.iterdir()
    assert file.name.endswith(".pt.trace.json")


def _profiled():
    ready = Mock()
    Training().run(ProfilerHook(False, 1, ["cpu"], on_trace_ready=ready))
    return ready.call_count


def test_rank_0_profiles():
    assert run_ranks(2, _profiled) == [1, 0]
