import json
import logging
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv1_suite import Steps
from torch import nn
from torch.utils.data import DataLoader, Dataset

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.checkpoint import CheckpointManager
from trainwright.compat.mmcv1.errors import LackingError, RuleError
from trainwright.compat.mmcv1.runner import (
    CheckpointHook,
    DistEvalHook,
    EpochBasedRunner,
    EvalHook,
    IterBasedRunner,
    LoggerHook,
    OptimizerHook,
)
from trainwright.compat.mmcv1.runner.hooks import HOOKS

SCORES = [1, 4, 3, 7, 2, -3, 4, 6]


class Scored(Dataset):
    """A data set whose evaluation gives the scores in turn."""

    def __init__(self, name="acc", scores=SCORES):
        self.name, self.scores, self.calls = name, list(scores), []

    def __getitem__(self, index):
        return torch.ones(2)

    def __len__(self):
        return 3

    def evaluate(self, results, logger=None, **settings):
        self.calls.append((results, settings))
        return {self.name: self.scores[len(self.calls) - 1], "other": 0.5}


class Model(Steps):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 1)
        self.seen = []

    def forward(self, x):
        return self.fc(x)

    def train_step(self, data, optimizer, **kwargs):
        self.seen.append((torch.rand(()).item(), random.random(), np.random.rand()))
        return {"loss": self(data).sum(), "num_samples": 1, "log_vars": {"loss": 1.0}}


def outputs_of(model, loader, **settings):
    """The test function of these runs; it draws random numbers."""
    model.eval()
    torch.rand(3)
    random.random()
    np.random.rand()
    return [len(batch) for batch in loader]


def all_outputs_of(model, loader, tmpdir=None, gpu_collect=False):
    return outputs_of(model, loader)


def evaluated(data=None, kind=EvalHook, **settings):
    fn = outputs_of if kind is EvalHook else all_outputs_of
    return kind(DataLoader(data or Scored()), **{"test_fn": fn, **settings})


def a_runner(work_dir, *hooks, kind=EpochBasedRunner, meta=(), **length):
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    logger = logging.getLogger("mmcv1_eval_hook")
    meta = None if meta is None else dict(meta)
    runner = kind(model, optimizer=optimizer, work_dir=str(work_dir), logger=logger, meta=meta, **length)
    for hook in hooks:
        runner.register_hook(hook)
    return runner


def run(runner):
    runner.run([DataLoader(Scored())], [("train", 1)])
    return runner


def bests(folder):
    return sorted(name for name in os.listdir(folder) if name.startswith("best_"))


# the best -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [EvalHook, DistEvalHook])
@pytest.mark.parametrize(
    ("name", "settings", "n_epochs", "best", "score"),
    [
        ("acc", {"save_best": "auto"}, 8, 4, 7),
        ("acc", {"save_best": "acc"}, 3, 2, 4),
        ("my_loss", {"save_best": "auto"}, 8, 6, -3),
        ("acc", {"save_best": "acc", "rule": "less"}, 8, 6, -3),
        ("score", {"save_best": "score", "greater_keys": "score"}, 8, 4, 7),
        ("score", {"save_best": "score", "greater_keys": [], "less_keys": ["score"]}, 8, 6, -3),
    ],
)
def test_the_best_is_kept(kind, name, settings, n_epochs, best, score, tmp_path, capsys):
    data = Scored(name)
    runner = run(a_runner(tmp_path, evaluated(data, kind, **settings), max_epochs=n_epochs))
    assert bests(tmp_path) == [f"best_{name}_epoch_{best}.pth"]
    assert runner.meta["hook_msgs"] == {
        "best_score": score,
        "best_ckpt": os.path.join(runner.work_dir, f"best_{name}_epoch_{best}.pth"),
    }
    saved = torch.load(tmp_path / f"best_{name}_epoch_{best}.pth", weights_only=True)
    assert saved["meta"]["hook_msgs"] == runner.meta["hook_msgs"]
    assert saved["meta"]["epoch"] == best
    assert len(data.calls) == n_epochs
    assert not (tmp_path / "latest.pth").exists()


def test_a_class_of_a_task_has_keys_of_its_own(tmp_path):
    class Task(EvalHook):
        _default_greater_keys = ("score",)

    run(a_runner(tmp_path, evaluated(Scored("score"), Task, save_best="auto"), max_epochs=4))
    assert bests(tmp_path) == ["best_score_epoch_4.pth"]


def test_an_equal_score_and_a_nan_do_not_replace(tmp_path):
    data = Scored(scores=[2.0, 2.0, float("nan"), 1.0])
    run(a_runner(tmp_path, evaluated(data, save_best="acc"), max_epochs=4))
    assert bests(tmp_path) == ["best_acc_epoch_1.pth"]


def test_a_score_of_zero_counts(tmp_path):
    runner = run(a_runner(tmp_path, evaluated(Scored(scores=[-1.0, 0.0]), save_best="acc"), max_epochs=2))
    assert bests(tmp_path) == ["best_acc_epoch_2.pth"]
    assert runner.meta["hook_msgs"]["best_score"] == 0.0


def test_a_metric_with_a_folder_in_its_name(tmp_path):
    run(a_runner(tmp_path, evaluated(Scored("set/acc"), save_best="set/acc"), max_epochs=1))
    assert bests(tmp_path) == ["best_set_acc_epoch_1.pth"]


def test_the_earlier_best_goes_when_the_new_one_is_there(tmp_path, monkeypatch):
    seen, remove = [], CheckpointManager.remove

    def removing(manager, path, newest=None):
        seen.append((os.path.basename(path), bests(tmp_path)))
        remove(manager, path, newest)

    monkeypatch.setattr(CheckpointManager, "remove", removing)
    run(a_runner(tmp_path, evaluated(save_best="acc"), max_epochs=2))
    assert seen == [("best_acc_epoch_1.pth", ["best_acc_epoch_1.pth", "best_acc_epoch_2.pth"])]


def test_a_best_that_is_not_saved_is_none(tmp_path):
    hook = evaluated(save_best="acc")
    runner = a_runner(tmp_path, hook, max_epochs=4)
    save = runner.save_checkpoint

    def failing(folder, filename_tmpl, **settings):
        if runner.epoch == 1:
            raise OSError("full")
        save(folder, filename_tmpl, **settings)

    runner.save_checkpoint = failing
    with pytest.raises(OSError, match="full"):
        run(runner)
    path = os.path.join(runner.work_dir, "best_acc_epoch_1.pth")
    assert runner.meta["hook_msgs"] == {"best_score": 1, "best_ckpt": path}
    assert hook.best_ckpt_path == path
    assert os.path.exists(path)


@pytest.mark.parametrize("kind", [EpochBasedRunner, IterBasedRunner])
def test_the_best_carries_through_a_resume(kind, tmp_path):
    by_epoch = kind is EpochBasedRunner
    length = {"max_epochs": 8} if by_epoch else {"max_iters": 8}
    short = dict.fromkeys(length, 4)
    evaluation = {"save_best": "auto", "by_epoch": by_epoch}
    # it evaluates before it saves, so that what is resumed has the score
    first = a_runner(tmp_path, evaluated(**evaluation), CheckpointHook(1, by_epoch=by_epoch), kind=kind, **short)
    run(first)
    number = "epoch_4" if by_epoch else "iter_4"
    assert bests(tmp_path) == [f"best_acc_{number}.pth"]
    second = a_runner(tmp_path, evaluated(Scored(scores=SCORES[4:]), **evaluation), kind=kind, **length)
    second.resume(str(tmp_path / f"{number}.pth"))
    run(second)
    assert bests(tmp_path) == [f"best_acc_{number}.pth"]
    assert second.meta["hook_msgs"]["best_score"] == 7
    third = a_runner(tmp_path, evaluated(Scored(scores=[9, 1, 1, 1]), **evaluation), kind=kind, **length)
    third.resume(str(tmp_path / f"{number}.pth"))
    run(third)
    assert bests(tmp_path) == [f"best_acc_{'epoch' if by_epoch else 'iter'}_5.pth"]


@pytest.mark.parametrize("save_best", ["auto", "acc"])
@pytest.mark.parametrize("kind", [EpochBasedRunner, IterBasedRunner])
def test_a_best_that_was_found_after_the_save_is_known_to_who_resumes_it(kind, save_best, tmp_path):
    """As evaluation hooks are registered: behind the one that saves."""
    by_epoch = kind is EpochBasedRunner
    unit, evaluation = ("epoch" if by_epoch else "iter"), {"save_best": save_best, "by_epoch": by_epoch}
    run(
        a_runner(
            tmp_path, CheckpointHook(1, by_epoch=by_epoch), evaluated(**evaluation), kind=kind, **{f"max_{unit}s": 4}
        )
    )
    for scores, best in ([5, 5], f"best_acc_{unit}_4.pth"), ([5, 9], f"best_acc_{unit}_6.pth"):
        resumed = a_runner(tmp_path, evaluated(Scored(scores=scores), **evaluation), kind=kind, **{f"max_{unit}s": 6})
        resumed.resume(str(tmp_path / f"{unit}_4.pth"))
        assert resumed.meta["hook_msgs"]["best_score"] == 4  # what was known when it was saved
        run(resumed)
        assert bests(tmp_path) == [best]
        assert resumed.meta["hook_msgs"]["best_ckpt"] == os.path.join(resumed.work_dir, best)


def test_a_best_that_is_damaged_is_none(tmp_path, caplog):
    run(a_runner(tmp_path, CheckpointHook(1), evaluated(save_best="acc"), max_epochs=1))
    with open(tmp_path / "best_acc_epoch_1.pth", "r+b") as file:
        file.truncate(1000)
    resumed = a_runner(tmp_path, evaluated(Scored(scores=[0]), save_best="acc"), max_epochs=2)
    resumed.resume(str(tmp_path / "epoch_1.pth"))
    run(resumed)
    assert "a best checkpoint cannot be read, and does not count" in caplog.text
    assert resumed.meta["hook_msgs"]["best_score"] == 0


def test_the_best_of_another_run_in_the_folder_is_none_of_ours(tmp_path):
    run(a_runner(tmp_path, CheckpointHook(1), evaluated(Scored(scores=[9])), max_epochs=1))
    other = a_runner(tmp_path, evaluated(Scored(scores=[9]), save_best="acc"), max_epochs=1)
    torch.manual_seed(1)
    run(other)
    resumed = a_runner(tmp_path, evaluated(Scored(scores=[2]), save_best="acc"), max_epochs=2)
    resumed.resume(str(tmp_path / "epoch_1.pth"))
    run(resumed)
    assert resumed.meta["hook_msgs"]["best_score"] == 2
    assert bests(tmp_path) == ["best_acc_epoch_1.pth", "best_acc_epoch_2.pth"]


def test_the_best_of_another_folder_stays(tmp_path):
    run(a_runner(tmp_path / "a", evaluated(save_best="acc"), CheckpointHook(1), max_epochs=1))
    second = a_runner(tmp_path / "b", evaluated(Scored(scores=[9]), save_best="acc"), max_epochs=2)
    second.resume(str(tmp_path / "a" / "epoch_1.pth"))
    run(second)
    assert bests(tmp_path / "a") == ["best_acc_epoch_1.pth"]
    assert bests(tmp_path / "b") == ["best_acc_epoch_2.pth"]


def test_out_dir_gets_a_folder_of_the_name_of_the_run(tmp_path):
    hook = evaluated(save_best="acc", out_dir=str(tmp_path / "out"))
    runner = run(a_runner(tmp_path / "work", hook, max_epochs=2))
    assert bests(tmp_path / "out" / "work") == ["best_acc_epoch_2.pth"]
    assert bests(tmp_path / "work") == []
    hook.before_run(runner)
    assert hook.out_dir == str(tmp_path / "out" / "work")


def test_without_save_best_nothing_is_saved_or_noted(tmp_path):
    runner = run(a_runner(tmp_path, evaluated(), meta=None, max_epochs=2))
    assert runner.meta is None
    assert os.listdir(tmp_path) == []


def test_meta_is_made_where_it_is_needed(tmp_path):
    with pytest.warns(UserWarning, match=r"runner.meta is None"):
        runner = run(a_runner(tmp_path, evaluated(save_best="acc"), meta=None, max_epochs=1))
    assert runner.meta["hook_msgs"]["best_score"] == 1


def test_an_evaluation_without_metrics_is_no_best(tmp_path):
    data = Scored()
    data.evaluate = lambda results, logger=None: {}
    words = (
        "Since `eval_res` is an empty dict, the behavior to save the best checkpoint will be skipped in this evaluation"
    )
    with pytest.warns(UserWarning, match=rf"^{words}\.$"):
        run(a_runner(tmp_path, evaluated(data, save_best="auto"), max_epochs=1))
    assert bests(tmp_path) == []


def test_a_metric_that_is_not_there(tmp_path):
    with pytest.raises(LackingError, match="EvalHook save_best='top1' is not among the metrics: acc, other"):
        run(a_runner(tmp_path, evaluated(save_best="top1"), max_epochs=1))


# when -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [EpochBasedRunner, IterBasedRunner])
@pytest.mark.parametrize(
    ("settings", "resumed_at", "n", "expected"),
    [
        ({"interval": 1}, 0, 2, [1, 2]),
        ({"interval": 2}, 0, 5, [2, 4]),
        ({"start": 1, "interval": 1}, 0, 2, [1, 2]),
        ({"start": 2, "interval": 1}, 0, 3, [2, 3]),
        ({"start": 2, "interval": 2}, 0, 5, [2, 4]),
        ({"start": 3, "interval": 2}, 0, 6, [3, 5]),
        ({"start": 0, "interval": 1}, 0, 2, [1, 1, 2]),
        ({"start": 1, "interval": 1}, 2, 3, [3, 3]),
        ({"start": 5, "interval": 1}, 2, 3, []),
    ],
)
def test_intervals(kind, settings, resumed_at, n, expected, tmp_path):
    by_epoch = kind is EpochBasedRunner
    hook = evaluated(by_epoch=by_epoch, **settings)
    runner = a_runner(tmp_path, hook, kind=kind, **{"max_epochs" if by_epoch else "max_iters": n})
    seen = []
    hook.evaluate = lambda runner, results: seen.append((runner.epoch if by_epoch else runner.iter) + 1)
    if by_epoch:
        runner._epoch = resumed_at
    else:
        runner._iter = resumed_at
    run(runner)
    assert seen == expected


@pytest.mark.parametrize("kind", [EpochBasedRunner, IterBasedRunner])
def test_an_evaluation_before_training_leaves_the_model_in_its_mode(kind, tmp_path):
    """That of each module: a hook or the model itself may keep some of them from training."""
    by_epoch = kind is EpochBasedRunner
    runner = a_runner(
        tmp_path, evaluated(start=0, by_epoch=by_epoch), kind=kind, **{"max_epochs" if by_epoch else "max_iters": 2}
    )
    model, modes = runner.model, []
    model.train = lambda mode=True: (nn.Module.train(model, mode), model.fc.eval())
    plain_step = model.train_step
    model.train_step = lambda *args, **kwargs: (
        modes.append((model.training, model.fc.training)),
        plain_step(*args, **kwargs),
    )[1]
    run(runner)
    assert set(modes) == {(True, False)}


def test_random_streams_go_on_as_if_there_had_been_no_evaluation(tmp_path):
    plain = run(a_runner(tmp_path, max_epochs=3))
    with_hook = run(a_runner(tmp_path, evaluated(), max_epochs=3))
    assert with_hook.model.seen == plain.model.seen


def test_it_is_called_where_it_evaluates():
    by_epoch, by_iter = evaluated(), evaluated(by_epoch=False)
    stages = ("before_train_epoch", "before_train_iter", "after_train_iter", "after_train_epoch")
    assert [by_epoch.idle_at(stage) for stage in stages] == [False, True, True, False]
    assert [by_iter.idle_at(stage) for stage in stages] == [True, False, False, True]

    class Own(EvalHook):
        def after_train_iter(self, runner):
            pass

    assert not evaluated(kind=Own).idle_at("after_train_iter")


# with loggers ---------------------------------------------------------------------------------------------------------


class Lines(LoggerHook):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.lines = []

    def log(self, runner):
        self.lines.append((self.get_mode(runner), runner.iter + 1, sorted(runner.log_buffer.output)))


@pytest.mark.parametrize(
    ("kind", "early"), [(EpochBasedRunner, True), (EpochBasedRunner, False), (IterBasedRunner, False)]
)
def test_lines_of_training_and_of_evaluation_are_apart(kind, early, tmp_path):
    by_epoch = kind is EpochBasedRunner
    runner = a_runner(tmp_path, kind=kind, **{"max_epochs" if by_epoch else "max_iters": 1 if by_epoch else 3})
    runner.register_logger_hooks({"interval": 1, "hooks": [{"type": "TextLoggerHook", "by_epoch": by_epoch}]})
    runner.register_timer_hook({"type": "IterTimerHook"})
    interval = 1 if by_epoch else 3
    runner.register_hook(evaluated(by_epoch=by_epoch, interval=interval), priority="NORMAL" if early else "LOW")
    run(runner)
    lines = [json.loads(line) for file in Path(tmp_path).glob("*.log.json") for line in file.read_text().splitlines()]
    train, val = ([line for line in lines if line.get("mode") == mode] for mode in ("train", "val"))
    assert [line["iter"] for line in train] == [1, 2, 3]
    assert all("time" in line and "acc" not in line for line in train)
    assert [(line["iter"], line["acc"], "time" in line) for line in val] == [(3, 1, False)]


def test_the_evaluation_gets_its_settings_and_the_results(tmp_path):
    data = Scored()
    hook = evaluated(data, metric=["top1"], jsonfile_prefix="x")
    run(a_runner(tmp_path, hook, OptimizerHook(), max_epochs=1))
    assert data.calls == [([1, 1, 1], {"metric": ["top1"], "jsonfile_prefix": "x"})]


def test_the_usual_test_functions_are_those_of_the_engine(monkeypatch):
    from trainwright.compat.mmcv1 import engine

    monkeypatch.setattr(engine, "single_gpu_test", "one")
    monkeypatch.setattr(engine, "multi_gpu_test", "several")
    assert EvalHook(DataLoader(Scored())).test_fn == "one"
    assert DistEvalHook(DataLoader(Scored())).test_fn == "several"


def test_what_several_ranks_are_told(tmp_path, monkeypatch, capsys):
    told = []
    monkeypatch.setattr("torch.distributed.broadcast", lambda tensor, rank: told.append((tensor.tolist(), rank)))

    def test_fn(model, loader, tmpdir, gpu_collect):
        told.append((tmpdir, gpu_collect))
        return []

    for settings in ({}, {"broadcast_bn_buffer": False, "tmpdir": "here", "gpu_collect": True}):
        runner = a_runner(tmp_path, evaluated(kind=DistEvalHook, **settings, test_fn=test_fn), max_epochs=1)
        runner.model.norm = nn.BatchNorm1d(1)
        runner.model.no_statistics = nn.BatchNorm1d(1, track_running_stats=False)
        run(runner)
    assert told == [([1.0], 0), ([0.0], 0), (os.path.join(runner.work_dir, ".eval_hook"), False), ("here", True)]
    assert capsys.readouterr().out == "\n\n"


def test_other_ranks_do_not_evaluate(tmp_path):
    data = Scored()
    runner = a_runner(tmp_path, evaluated(data, kind=DistEvalHook, save_best="acc"), max_epochs=1)
    runner._rank = 1
    run(runner)
    assert data.calls == []
    assert bests(tmp_path) == []


# settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [EvalHook, DistEvalHook])
@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"interval": 0}, ConfigError, "interval must be at least 1, got 0"),
        ({"interval": -1}, ConfigError, "interval must be at least 1, got -1"),
        ({"start": -1}, ConfigError, "start must be at least 0, got -1"),
        ({"by_epoch": 1}, RuleError, "by_epoch must be True or False, got 1"),
        ({"save_best": True}, RuleError, "save_best must be the name of a metric, 'auto' or None, got True"),
        ({"save_best": "auto", "rule": "more"}, LackingError, "rule must be 'greater', 'less' or None, got 'more'"),
        (
            {"save_best": "unknown"},
            ConfigError,
            "cannot tell from its name .* of save_best='unknown'",
        ),
        ({"greater_keys": [1]}, RuleError, r"greater_keys must be names of metrics, got \[1\]"),
        ({"less_keys": 3}, RuleError, "less_keys must be names of metrics, got 3"),
    ],
)
def test_settings_that_cannot_be(kind, settings, error, text):
    with pytest.raises(error, match=text):
        evaluated(kind=kind, **settings)


@pytest.mark.parametrize("kind", [EvalHook, DistEvalHook])
def test_a_loader_is_a_data_loader(kind):
    with pytest.raises(ConfigTypeError, match=f"{kind.__name__} dataloader must be a torch DataLoader, got a list"):
        kind([1])


def test_they_are_built_by_their_class_only():
    assert HOOKS.get("EvalHook") is None
    assert HOOKS.get("DistEvalHook") is None
