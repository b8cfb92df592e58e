"""NPUProfilerHook with a stand-in for torch_npu."""

import inspect
import os
import sys
from types import ModuleType, SimpleNamespace

import pytest

from trainwright.base.errors import ConfigError, DataError, Interrupted, MissingExtraError
from trainwright.engine import Event
from trainwright.hooks import NPUProfilerHook
from trainwright.runner import Runner
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import differences, toy_config, toy_loader


@pytest.fixture
def calls(monkeypatch):
    """What is asked of torch_npu's profiler."""
    found = []

    class Profile:
        def __init__(self, path, use_e2e_profiler):
            found.append(("made", path, use_e2e_profiler))

        def __enter__(self):
            found.append("enter")
            return self

        def __exit__(self, *args):
            found.append("exit")

    module = ModuleType("torch_npu")
    module.npu = SimpleNamespace(profile=Profile)
    monkeypatch.setitem(sys.modules, "torch_npu", module)
    return found


def make(folder, *more, changes=None, **settings):
    hook = {"type": "NPUProfilerHook", "result_path": str(folder / "npu"), **settings}
    return Runner.from_cfg(toy_config(folder / "run", custom_hooks=[hook, *more], **(changes or {})))


def test_it_records_the_iterations_asked_for_and_changes_nothing(tmp_path, calls):
    plain = Runner.from_cfg(toy_config(tmp_path / "plain"))
    plain.train()
    at = []

    class Look(StopAt):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            at.append((runner.iter, calls[1:]))

    runner = make(tmp_path, Look(Event.AFTER_TEST, 1), begin=2, end=4, exit_after_profiling=False)
    runner.train()
    assert calls == [("made", str(tmp_path / "npu"), False), "enter", "exit"]
    assert at[:4] == [(0, []), (1, []), (2, ["enter"]), (3, ["enter", "exit"])]
    assert (tmp_path / "npu").is_dir()
    assert not differences(plain.strategy.state_tree(), runner.strategy.state_tree())


def test_the_program_ends_afterwards(tmp_path, calls):
    runner = make(tmp_path, use_e2e_profiler=True)
    with pytest.raises(SystemExit) as end:
        runner.train()
    assert end.value.code is None  # status 0
    assert runner.iter == 0
    assert calls == [("made", str(tmp_path / "npu"), True), "enter", "exit"]


def test_a_training_that_is_taken_up_inside(tmp_path, calls):
    """One that was stopped leaves its trace; the rest records what is left."""
    settings = {"begin": 1, "end": 6, "exit_after_profiling": False}
    with pytest.raises(Interrupted):
        make(tmp_path, StopAt(Event.AFTER_TRAIN_ITER, 3), **settings).train()
    assert calls[1:] == ["enter", "exit"]
    make(tmp_path, changes={"resume": True}, **settings).train()
    assert calls[4:] == ["enter", "exit"]
    make(tmp_path, changes={"resume": True, "train_cfg": {"by_epoch": True, "max_epochs": 3}}, **settings).train()
    assert len(calls) == 6  # begun after the end


def test_a_training_that_fails(tmp_path, calls):
    with pytest.raises(DataError):
        make(tmp_path, end=8, changes={"train_dataloader": toy_loader(shuffle=False, fail_at=5)}).train()
    assert calls[1:] == ["enter", "exit"]


def test_the_graph_engine_prints(monkeypatch, calls):
    monkeypatch.setenv("GE_PROFILING_TO_STD_OUT", "0")
    NPUProfilerHook()
    assert os.environ["GE_PROFILING_TO_STD_OUT"] == "0"
    NPUProfilerHook(ge_profiling_to_std_out=True)
    assert os.environ["GE_PROFILING_TO_STD_OUT"] == "1"


def test_without_torch_npu(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_npu", None)
    with pytest.raises(MissingExtraError, match="NPUProfilerHook needs the package 'torch_npu'.*pip install torch-npu"):
        NPUProfilerHook()


def test_impossible_settings(tmp_path, calls):
    with pytest.raises(ConfigError, match="begin=3 must be below end=3: it records"):
        NPUProfilerHook(begin=3, end=3)
    with pytest.raises(ConfigError, match="end=9 is more than the training has: max_iters=8"):
        make(tmp_path, end=9).train()


@pytest.mark.peer
def test_arguments_are_those_of_mmengine():
    hooks = pytest.importorskip("mmengine.hooks")
    theirs, ours = (inspect.signature(cls).parameters for cls in (hooks.NPUProfilerHook, NPUProfilerHook))
    assert [(p.name, p.default, p.kind) for p in theirs.values()] == [
        (p.name, p.default, p.kind) for p in ours.values()
    ]
