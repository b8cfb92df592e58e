"""``--fast-dev-run [N]`` and the key of that name: every part is tried, and nothing is left."""

import gc
import os
import tempfile

import pytest

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.cli.arguments import normalised
from trainwright.engine import BaseLoop, Event, Hook
from trainwright.hooks import CheckpointHook
from trainwright.registry import LOOPS
from trainwright.runner import Runner
from trainwright.strategies import SingleDeviceStrategy
from trainwright.testing.recorder import EventRecorder, StopAt
from trainwright.testing.toys import toy_config, toy_loader


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "a.py", "--fast-dev-run"], ["train", "a.py", "--fast-dev-run", "1"]),
        (["train", "--fast-dev-run", "a.py"], ["train", "--fast-dev-run", "1", "a.py"]),
        (["train", "a.py", "--fast-dev-run", "3"], ["train", "a.py", "--fast-dev-run", "3"]),
        (["train", "a.py", "--fast-dev-run", "--amp"], ["train", "a.py", "--fast-dev-run", "1", "--amp"]),
    ],
)
def test_the_number_may_be_left_out(words, expected):
    assert normalised(words) == expected


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files, which is empty at first."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize(("words", "n"), [(["--fast-dev-run"], "1 batch"), (["--fast-dev-run", 2], "2 batches")])
def test_the_command(command, project, temporary, words, n):
    before = sorted(project.rglob("*.py"))
    code, out, err = command("train", "toy.py", *words)
    assert code == 0, err
    assert f"Fast dev run passed: {n} of training and {n} of validation. Nothing was kept" in out
    assert "For the whole training leave out --fast-dev-run:\n  trainwright train toy.py" in out
    gc.collect()
    assert [path for path in sorted(project.rglob("*.py")) if "temporary" not in path.parts] == before
    assert not (project / "work_dirs").exists()
    assert list(temporary.glob("trainwright*")) == []


def test_a_number_below_one_is_refused(command):
    code, _, err = command("train", "toy.py", "--fast-dev-run", "0")
    assert (code, err.strip()) == (1, "error: --fast-dev-run must be at least 1 batch, but got 0.")


class Broken(Hook):
    def after_val_epoch(self, runner, metrics=None):
        raise RuntimeError("this hook is broken")


def make(work_dir, n=1, **changes):
    return Runner.from_cfg(toy_config(work_dir, fast_dev_run=n, **changes))


@pytest.mark.parametrize(
    "train_cfg",
    [
        {"by_epoch": True, "max_epochs": 7, "val_interval": 3, "val_begin": 5},
        {"by_epoch": False, "max_iters": 700, "val_interval": 300},
        {"by_epoch": False, "max_duration": "9 h", "val_interval": 300},
        {"by_epoch": True, "max_epochs": 7, "limit_batches": 0.5},
    ],
)
@pytest.mark.parametrize("n", [1, 3, True])
def test_one_epoch_and_one_validation(tmp_path, train_cfg, n):
    recorder = EventRecorder()
    runner = make(tmp_path / "run", n, train_cfg=train_cfg, custom_hooks=[recorder], val_cfg={"sanity_batches": 2})
    runner.train()
    n = int(n)
    assert runner.iter == recorder.count(Event.AFTER_TRAIN_ITER) == n
    assert recorder.count(Event.AFTER_VAL_ITER) == min(n, 2)
    assert [recorder.count(event) for event in (Event.AFTER_TRAIN_EPOCH, Event.AFTER_VAL, Event.AFTER_RUN)] == [1, 1, 1]
    assert not (tmp_path / "run").exists()


def test_hooks_take_part_and_checkpoint_hooks_do_not(tmp_path):
    hooks = [{"type": "CheckpointHook", "interval": 1, "by_epoch": False, "out_dir": str(tmp_path / "out")}, Broken()]
    runner = make(tmp_path / "run", custom_hooks=hooks)
    assert not any(isinstance(hook, CheckpointHook) for hook in runner.hooks)
    with pytest.raises(RuntimeError, match="this hook is broken"):
        runner.train()
    assert list(tmp_path.iterdir()) == []


def test_schedules_have_the_whole_training_s_length(tmp_path):
    schedules = [
        {"type": "LinearLR", "start_factor": 0.1, "end": 2},
        {"type": "CosineAnnealingLR", "begin": 2, "convert_to_iter_based": True},
    ]
    runner = make(tmp_path, train_cfg={"by_epoch": True, "max_epochs": 7}, param_scheduler=schedules)
    runner.train()
    assert [scheduler.end for scheduler in runner.param_schedulers] == [2, 7]


def test_an_accumulating_optimizer_makes_its_step(tmp_path):
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}, "accumulative_counts": 4}
    runner = make(tmp_path, optim_wrapper=wrapper)
    runner.train()
    assert runner.optim_wrapper.optimizer.state


def test_a_test_is_short_too(tmp_path):
    test = {"test_dataloader": toy_loader(16), "test_cfg": {}, "test_evaluator": {"type": "Accuracy"}}
    recorder = EventRecorder()
    make(tmp_path, 2, custom_hooks=[recorder], **test).test()
    assert recorder.count(Event.AFTER_TEST_ITER) == 2


def test_what_would_be_resumed_is_loaded(tmp_path):
    first = Runner.from_cfg(toy_config(tmp_path))
    first.train()
    path = str(tmp_path / "epoch_2.pth")
    for changes in ({"resume": path}, {"resume": True, "load_from": path}, {"load_from": path}):
        runner = make(tmp_path, optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.0}}, **changes)
        runner.train()
        assert runner.iter == 1
        for mine, saved in zip(runner.model.parameters(), first.model.parameters(), strict=True):
            assert mine.equal(saved)
    assert sorted(tmp_path.glob("*.pth")) == [tmp_path / "epoch_1.pth", tmp_path / "epoch_2.pth"]


def test_the_trackers_are_not_written_to(tmp_path):
    visualizer = {"type": "Visualizer", "vis_backends": [{"type": "TensorboardVisBackend", "save_dir": str(tmp_path)}]}
    runner = make(tmp_path / "run", visualizer=visualizer)
    assert [type(writer).__name__ for writer in runner.visualizer._vis_backends.values()] == ["LocalVisBackend"]


def test_an_interruption_saves_nothing(tmp_path):
    stop = StopAt(Event.AFTER_TRAIN_ITER, 1, interrupts=True)
    with pytest.raises(KeyboardInterrupt, match="the fast dev run was stopped .*; it keeps nothing"):
        make(tmp_path / "run", 3, custom_hooks=[stop]).train()


@pytest.mark.parametrize("value", [False, 0, None])
def test_it_is_off(tmp_path, value):
    runner = Runner.from_cfg({**toy_config(tmp_path), "fast_dev_run": value})
    assert runner.fast_dev_run == 0
    assert runner.work_dir == os.fspath(tmp_path)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (-1, ConfigError, "fast_dev_run must be at least 1, or False, but got -1"),
        ("yes", ConfigTypeError, "fast_dev_run: must be True or False or a whole number, but got 'yes'"),
        (1.5, ConfigTypeError, "fast_dev_run: must be"),
    ],
)
def test_what_is_no_number(tmp_path, value, error, message):
    with pytest.raises(error, match=message):
        make(tmp_path, value)


def test_the_config_is_checked_as_it_is(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'val_interval'"):
        make(tmp_path, train_cfg={"by_epoch": True, "max_epochs": 2, "val_intervl": 1})


def test_a_built_strategy_has_a_folder(tmp_path):
    with pytest.raises(ConfigError, match="fast_dev_run works in a folder of its own, and a built strategy has one"):
        make(tmp_path, strategy=SingleDeviceStrategy(work_dir=str(tmp_path)))


@LOOPS.register_module()
class LoopWithoutLimits(BaseLoop):
    def run(self):
        pass


def test_a_loop_that_cannot_be_shortened(tmp_path):
    runner = make(tmp_path, train_cfg={"type": "LoopWithoutLimits"})
    with pytest.raises(ConfigError, match="fast_dev_run cannot shorten LoopWithoutLimits: derive it from one of the"):
        runner.train()


def test_a_training_that_a_duration_ended_says_what_to_raise(command):
    options = ("train_cfg.max_duration=20 tok", "train_cfg.tokens=label")
    code, out, err = command("train", "toy.py", "--cfg-options", *options)
    assert code == 0, err
    assert "Trained 0 epochs, 5 iterations." in out
    assert "To train on, raise max_duration and resume" in out
    assert "train_cfg.tokens=label train_cfg.max_duration=..." in out
