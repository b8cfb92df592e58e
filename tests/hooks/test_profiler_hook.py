"""ProfilerHook in whole runs: what is recorded, when, where it goes, and what is refused."""

import json

import pytest
import torch

from trainwright.base.errors import ConfigError, ConfigTypeError, Interrupted
from trainwright.engine import Event, Hook
from trainwright.hooks import ProfilerHook
from trainwright.runner import Runner
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import toy_config

LOOPS = {
    "epochs": {"by_epoch": True, "max_epochs": 2},
    "iterations": {"by_epoch": False, "max_iters": 8, "val_interval": 4},
}
loops = pytest.mark.parametrize("loop", list(LOOPS))


def train(folder, loop="epochs", custom_hooks=(), **settings):
    hooks = [{"type": "ProfilerHook", **settings}, *custom_hooks]
    cfg = toy_config(folder, train_cfg=LOOPS[loop], custom_hooks=hooks, log_level="INFO")
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def profiler_of(runner) -> ProfilerHook:
    return next(hook for hook in runner.hooks if isinstance(hook, ProfilerHook))


def n_steps(file):
    events = json.loads(file.read_text())["traceEvents"]
    return len({event["name"] for event in events if str(event.get("name")).startswith("ProfilerStep#")})


def n_backward(file):
    events = json.loads(file.read_text())["traceEvents"]
    return sum(event.get("name") == "autograd::engine::evaluate_function: AddmmBackward0" for event in events)


def is_profiling():
    return torch.autograd.profiler._is_profiler_enabled


@loops
@pytest.mark.parametrize(("times", "n_recorded"), [(1, 1), (3, 3), (8, 8)])
def test_iterations(tmp_path, loop, times, n_recorded):
    trace = tmp_path / "traces" / "trace.json"
    runner = train(tmp_path / "run", loop, by_epoch=False, profile_times=times, json_trace_path=str(trace))
    assert n_backward(trace) == 2 * n_recorded  # the model has two linear layers
    assert profiler_of(runner)._closed
    assert not is_profiling()


@pytest.mark.parametrize(("loop", "n_recorded"), [("epochs", 4), ("iterations", 8)])
def test_the_first_epoch(tmp_path, loop, n_recorded):
    trace = tmp_path / "trace.json"
    train(tmp_path / "run", loop, json_trace_path=str(trace))
    assert n_backward(trace) == 2 * n_recorded


def test_from_where_training_is_taken_up(tmp_path):
    cfg = toy_config(tmp_path, train_cfg=LOOPS["iterations"], custom_hooks=[StopAt(Event.AFTER_TRAIN_ITER, 5)])
    with pytest.raises(Interrupted):
        Runner.from_cfg(cfg).train()
    hook = {"type": "ProfilerHook", "by_epoch": False, "profile_times": 2, "json_trace_path": str(tmp_path / "t.json")}
    Runner.from_cfg({**cfg, "custom_hooks": [hook], "resume": True}).train()
    assert n_backward(tmp_path / "t.json") == 4


@loops
def test_a_schedule(tmp_path, loop):
    trace = tmp_path / "trace.json"
    schedule = {"wait": 1, "warmup": 1, "active": 2, "repeat": 1}
    train(tmp_path / "run", loop, by_epoch=False, profile_times=6, schedule=schedule, json_trace_path=str(trace))
    assert n_steps(trace) == 2


def test_a_schedule_that_never_records(tmp_path, capsys):
    schedule = {"wait": 5, "warmup": 1, "active": 2}
    train(tmp_path, by_epoch=False, profile_times=3, schedule=schedule)
    assert "recorded nothing: its schedule was still waiting or warming up after 3" in capsys.readouterr().err


def test_traces_for_tensorboard(tmp_path):
    runner = train(tmp_path, on_trace_ready={"type": "tb_trace"})
    (file,) = (tmp_path / runner.timestamp / "tf_tracing_logs").iterdir()
    assert file.name.endswith(".pt.trace.json")
    assert n_backward(file) == 8
    runner = train(tmp_path, on_trace_ready={"type": "tb_trace", "dir_name": "mine", "worker_name": "w"})
    assert len(list((tmp_path / runner.timestamp / "mine").glob("w.*.pt.trace.json"))) == 1


def test_a_table_in_the_log(tmp_path, capsys):
    train(tmp_path, on_trace_ready={"type": "log_trace", "sort_by": "self_cpu_time_total", "row_limit": 3})
    text = capsys.readouterr().err
    assert "Self CPU time total" in text
    assert "aten::" in text


def test_a_function_and_the_options(tmp_path):
    seen = []
    trace = tmp_path / "trace.json"
    switches = {"record_shapes": True, "profile_memory": True, "with_flops": True, "with_stack": True}
    hook = ProfilerHook(on_trace_ready=lambda found: seen.append(found), json_trace_path=str(trace), **switches)
    Runner.from_cfg(toy_config(tmp_path / "run", custom_hooks=[hook])).train()
    assert seen == [hook.profiler]
    assert any(average.flops for average in hook.profiler.key_averages(group_by_input_shape=True))
    assert all(getattr(hook.profiler, name) for name in switches)
    assert trace.is_file()


def test_a_test_alone_records_nothing(tmp_path):
    hook = ProfilerHook()
    cfg = toy_config(tmp_path, custom_hooks=[hook], train_cfg=None, train_dataloader=None, optim_wrapper=None)
    Runner.from_cfg(cfg).val()
    assert not hasattr(hook, "profiler")


class Fail(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 2:
            raise RuntimeError("broken")


@pytest.mark.parametrize(
    ("hook", "error"), [(Fail(), RuntimeError), (StopAt(Event.AFTER_TRAIN_ITER, 3), Interrupted)], ids=["fail", "stop"]
)
def test_training_that_does_not_end_leaves_its_trace(tmp_path, hook, error):
    trace = tmp_path / "trace.json"
    with pytest.raises(error):
        train(tmp_path / "run", custom_hooks=[hook], json_trace_path=str(trace))
    assert n_backward(trace) == 6
    assert not is_profiling()


def test_it_costs_nothing_afterwards(tmp_path):
    asked = []

    class Counted(ProfilerHook):
        def next_train_iter(self, runner):
            return super().next_train_iter(runner)

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            asked.append(runner.iter)
            super().after_train_iter(runner, batch_idx, data_batch, outputs)

    Runner.from_cfg(toy_config(tmp_path, custom_hooks=[Counted()])).train()
    assert asked == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        ({"by_epoch": 1}, ConfigTypeError, "by_epoch must be True or False, but got 1"),
        ({"activity_with_cuda": "no"}, ConfigTypeError, "activity_with_cuda must be True or False, but got 'no'"),
        ({"activity_with_cpu": False}, ConfigError, "neither activity_with_cpu nor activity_with_cuda"),
        ({"profile_times": 0}, ConfigError, "profile_times must be a whole number from 1 on, but got 0"),
        ({"profile_times": 2}, ConfigError, "profile_times=2 would record 2 epochs.*by_epoch=False"),
        ({"on_trace_ready": "log_trace"}, ConfigTypeError, "must be a function or a dict, but got 'log_trace'"),
        ({"on_trace_ready": {"type": "log_tracs"}}, ConfigError, "has 'log_tracs'. Did you mean 'log_trace'"),
        (
            {"on_trace_ready": {"row_limit": 3}},
            ConfigError,
            "must have the type 'log_trace' or 'tb_trace', but has None",
        ),
        ({"on_trace_ready": {"type": "log_trace", "row_limt": 1}}, ConfigTypeError, "unknown argument 'row_limt'"),
        ({"on_trace_ready": {"type": "tb_trace", "dir": "x"}}, ConfigTypeError, "'tb_trace': .*unknown argument 'dir'"),
        (
            {"on_trace_ready": {"type": "tb_trace"}, "json_trace_path": "x"},
            ConfigError,
            "'x' does not go with.*worker_n",
        ),
        ({"schedule": 3}, ConfigTypeError, "schedule must be a dict, but got 3"),
        ({"schedule": {"wait": 1}}, ConfigTypeError, "schedule: .*'warmup'"),
        ({"schedule": {"wait": -1, "warmup": 0, "active": 1}}, ConfigError, r"schedule: .*wait=-1 \(need >= 0\)"),
    ],
)
def test_impossible_settings(settings, kind, text):
    with pytest.raises(kind, match=text):
        ProfilerHook(**settings)


def test_more_than_the_training_has(tmp_path):
    with pytest.raises(ConfigError, match="profile_times=9 is more than the training has: max_iters=8"):
        train(tmp_path, by_epoch=False, profile_times=9)
