"""When EvalHook and DistEvalHook of MMCV 1.x evaluate, what they compare, and what they keep."""

import json
import os
import unittest.mock as mock
from collections import OrderedDict
from pathlib import Path
from unittest.mock import MagicMock, patch

import pytest
import torch
from mmcv1_suite import bare_runner, packages
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Sample(Dataset):
    """One sample; ``evaluate`` is a mock, or gives a score after another."""

    def __init__(self, scores=None, key="acc"):
        self.scores, self.key, self.index = scores, key, 0
        if scores is None:
            self.evaluate = mock.create_autospec(self._evaluate)
        else:
            self.evaluate = self._evaluate

    def __getitem__(self, index):
        return {"x": torch.tensor([1.0])}

    def __len__(self):
        return 1

    def _evaluate(self, results, logger=None):
        score = self.scores[self.index]
        self.index += 1
        return OrderedDict([(self.key, score), ("other", -score)])


class Nothing(Sample):
    """Its evaluation finds nothing."""

    def _evaluate(self, results, logger=None):
        return {}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.param = nn.Parameter(torch.tensor([1.0]))

    def forward(self, x, **kwargs):
        return self.param * x

    def train_step(self, data, optimizer, **kwargs):
        return {"loss": self(data["x"]).sum(), "num_samples": 1, "log_vars": {"loss": 1.0}}

    def val_step(self, data, optimizer=None, **kwargs):
        return {"loss": self(data["x"]), "num_samples": 1, "log_vars": {"loss": 1.0}}


def runner_in(work_dir, kind="EpochBasedRunner", length=1):
    epochs = kind == "EpochBasedRunner"
    runner = bare_runner(
        work_dir, kind, model=Model(), max_epochs=length if epochs else None, max_iters=None if epochs else length
    )
    runner.meta = {}
    return runner


@pytest.fixture(params=["EvalHook", "DistEvalHook"])
def hook_class(request, mmcv):
    with patch("mmcv.engine.single_gpu_test", MagicMock()), patch("mmcv.engine.multi_gpu_test", MagicMock()):
        yield getattr(mmcv.runner, request.param)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"dataloader": [1]}, TypeError),
        ({"interval": -1}, ValueError),
        ({"interval": 0}, ValueError),
        ({"start": -1}, ValueError),
        ({"by_epoch": 1}, AssertionError),
        ({"save_best": True}, AssertionError),
        ({"save_best": "mAP", "rule": "max"}, KeyError),
        ({"save_best": "no_rule_for_this"}, ValueError),
        ({"save_best": "acc", "greater_keys": 1}, AssertionError),
    ],
)
def test_what_is_refused(hook_class, settings, error):
    with pytest.raises(error):
        hook_class(**{"dataloader": DataLoader(Sample()), **settings})


@pytest.mark.parametrize(
    ("key", "settings", "rule"),
    [
        ("auto", {}, None),
        ("mAP", {}, "greater"),
        ("AR@100", {}, "greater"),
        ("top_1", {}, "greater"),
        ("loss", {}, "less"),
        ("loss_top", {}, "greater"),  # the keys of 'greater' are looked at first, as parts of a name
        ("mAP", {"rule": "less"}, "less"),
        ("WORD", {"greater_keys": ["word"]}, "greater"),
        ("acc", {"greater_keys": "acc"}, "greater"),
        ("word_error", {"less_keys": ("error",)}, "less"),
        ("acc", {"greater_keys": ("x",), "less_keys": ("acc",)}, "less"),
    ],
)
def test_rules_from_names(hook_class, key, settings, rule):
    hook = hook_class(DataLoader(Sample()), save_best=key, **settings)
    assert hook.rule == rule
    assert hook.key_indicator == key


def test_names_of_a_class_of_ones_own(hook_class):
    """Whole names come before parts of names, and what an instance is given before what its class says."""

    class Own(hook_class):
        _default_greater_keys = ("acc", "top")
        _default_less_keys = ("loss", "loss_top")

    loader = DataLoader(Sample())
    assert Own(loader, save_best="loss_top").rule == "less"
    assert Own(loader, save_best="my_loss").rule == "less"
    assert Own(loader, save_best="top_of_it").rule == "greater"
    assert Own(loader, save_best="loss", greater_keys=["loss"]).rule == "greater"
    with pytest.raises(ValueError, match="mAP"):
        Own(loader, save_best="mAP")


def last(folder, pattern):
    return [path.name for path in Path(folder).glob(pattern)]


def test_one_epoch(mmcv, tmp_path):
    """The mean of one evaluation, and no best without save_best."""
    dataset = Sample()
    loader = DataLoader(dataset)
    runner = runner_in(tmp_path)
    runner.register_hook(mmcv.runner.EvalHook(loader, test_fn=lambda model, data_loader: [5]))
    runner.run([loader], [("train", 1)])
    dataset.evaluate.assert_called_once_with([5], logger=runner.logger)
    assert "best_score" not in runner.meta.get("hook_msgs", {})


def test_what_is_handed_to_evaluate(mmcv, tmp_path):
    dataset = Sample([1], "auc")
    dataset.evaluate = MagicMock(return_value={"auc": 0.5})
    loader = DataLoader(dataset)
    runner = runner_in(tmp_path)
    runner.register_hook(mmcv.runner.EvalHook(loader, metric="bbox", test_fn=lambda model, data_loader: "results"))
    runner.run([loader], [("train", 1)])
    dataset.evaluate.assert_called_once_with("results", logger=runner.logger, metric="bbox")


@pytest.mark.parametrize("kind", ["EpochBasedRunner", "IterBasedRunner"])
@pytest.mark.parametrize(
    ("scores", "settings", "best", "at"),
    [
        ([1, 4, 3, 7, 2, -3, 4, 6], {"save_best": "acc"}, 7, 4),
        ([1, 4, 3, 7, 2, -3, 4, 6], {"save_best": "auto"}, 7, 4),
        ([1, 4, 3, 7, 2, -3, 4, 6], {"save_best": "acc", "rule": "greater"}, 7, 4),
        ([8, 4, 3, 7, 2, 3, 4, 6], {"save_best": "acc", "rule": "less"}, 2, 5),
        ([8, 4, 3, 7, 2, 3, 4, 6], {"save_best": "acc", "greater_keys": "acc"}, 8, 1),
        ([8, 4, 3, 7, 2, 3, 4, 6], {"save_best": "acc", "greater_keys": ["x"], "less_keys": ("acc",)}, 2, 5),
    ],
)
def test_the_best_is_kept(mmcv, tmp_path, kind, scores, settings, best, at):
    by_epoch = kind == "EpochBasedRunner"
    loader = DataLoader(Sample(scores))
    runner = runner_in(tmp_path, kind, len(scores))
    hook = mmcv.runner.EvalHook(loader, by_epoch=by_epoch, test_fn=lambda model, data_loader: [], **settings)
    runner.register_hook(hook)
    runner.run([loader], [("train", 1)])
    name = f"best_acc_{'epoch' if by_epoch else 'iter'}_{at}.pth"
    if settings["save_best"] == "auto":
        assert hook.key_indicator in ("auto", "acc")
        assert hook.rule == "greater"
    messages = runner.meta["hook_msgs"]
    assert messages["best_score"] == best
    assert messages["best_ckpt"] == os.path.join(runner.work_dir, name)
    assert last(tmp_path, "best_*.pth") == [name]  # and the ones before it are gone
    saved = torch.load(tmp_path / name)
    assert saved["meta"]["hook_msgs"]["best_score"] == best
    assert hook.best_ckpt_path == messages["best_ckpt"]


def test_the_best_is_resumed(mmcv, tmp_path):
    scores = [2, 3, 1, 4]
    loader = DataLoader(Sample(scores, "mAP"))
    first = runner_in(tmp_path / "work", length=2)
    first.register_checkpoint_hook({"interval": 1})
    first.register_hook(
        mmcv.runner.EvalHook(loader, save_best="mAP", test_fn=lambda model, data_loader: []), priority="HIGH"
    )
    first.run([loader], [("train", 1)])
    assert first.meta["hook_msgs"]["best_score"] == 3
    second = runner_in(tmp_path / "work", length=4)
    second.resume(str(tmp_path / "work" / "epoch_2.pth"), map_location="cpu")
    second.register_hook(mmcv.runner.EvalHook(loader, save_best="mAP", test_fn=lambda model, data_loader: []))
    assert second.meta["hook_msgs"]["best_score"] == 3
    seen = []
    second.call_hook("before_run")
    seen.append(second.hooks[-1].best_ckpt_path)
    second.run([loader], [("train", 1)])
    assert seen == [os.path.join(first.work_dir, "best_mAP_epoch_2.pth")]
    assert second.meta["hook_msgs"]["best_score"] == 4
    assert last(tmp_path / "work", "best_*.pth") == ["best_mAP_epoch_4.pth"]


def test_an_empty_evaluation_is_told(mmcv, tmp_path):
    loader = DataLoader(Nothing([1]))
    runner = runner_in(tmp_path)
    runner.register_hook(mmcv.runner.EvalHook(loader, save_best="auto", test_fn=lambda model, data_loader: []))
    with pytest.warns(UserWarning, match="eval_res"):
        runner.run([loader], [("train", 1)])
    assert last(tmp_path, "best_*.pth") == []


def test_best_without_meta_makes_one(mmcv, tmp_path):
    loader = DataLoader(Sample([1]))
    runner = runner_in(tmp_path)
    runner.meta = None
    runner.register_hook(mmcv.runner.EvalHook(loader, save_best="acc", test_fn=lambda model, data_loader: []))
    with pytest.warns(UserWarning, match="runner.meta is None"):
        runner.run([loader], [("train", 1)])
    assert runner.meta["hook_msgs"]["best_score"] == 1


@pytest.mark.parametrize("kind", ["EpochBasedRunner", "IterBasedRunner"])
@pytest.mark.parametrize(
    ("settings", "length", "resumed_at", "calls"),
    [
        ({"interval": 1}, 2, 0, 2),
        ({"start": 1, "interval": 1}, 2, 0, 2),
        ({"interval": 2}, 3, 0, 1),
        ({"start": 2, "interval": 1}, 3, 0, 2),
        ({"start": 3, "interval": 2}, 5, 0, 2),
        ({"start": 0}, 2, 0, 3),  # before the first, too
        ({"start": 1}, 3, 2, 2),  # resumed behind its start: at once, and after the last
        ({"start": 3}, 2, 0, 0),
    ],
)
def test_when_it_is_due(hook_class, tmp_path, kind, settings, length, resumed_at, calls):
    by_epoch = kind == "EpochBasedRunner"
    dataset = Sample()
    loader = DataLoader(dataset)
    runner = runner_in(tmp_path, kind, length)
    runner.register_hook(hook_class(loader, by_epoch=by_epoch, **settings))
    if by_epoch:
        runner._epoch = resumed_at
    else:
        runner._iter = resumed_at
    runner.run([loader], [("train", 1)])
    assert dataset.evaluate.call_count == calls


@pytest.mark.parametrize("kind", ["EpochBasedRunner", "IterBasedRunner"])
def test_evaluations_have_their_line(mmcv, tmp_path, kind):
    """With a timer and a text logger: a line of training, then one of the evaluation with its own number of batches."""
    by_epoch = kind == "EpochBasedRunner"
    loader = DataLoader(Sample([0.5, 0.25]))
    runner = runner_in(tmp_path, kind, 2)
    runner.meta = None
    runner.register_timer_hook({"type": "IterTimerHook"})
    runner.register_hook(
        mmcv.runner.EvalHook(loader, by_epoch=by_epoch, test_fn=lambda model, data_loader: []), priority="LOW"
    )
    runner.register_logger_hooks({"interval": 1, "hooks": [{"type": "TextLoggerHook", "by_epoch": by_epoch}]})
    runner.run([loader], [("train", 1)])
    lines = [json.loads(line) for line in (tmp_path / f"{runner.timestamp}.log.json").read_text().splitlines()]
    assert [(line["mode"], line["iter"], line.get("acc"), line.get("loss")) for line in lines] == [
        ("train", 1, None, 1.0),
        ("val", 1, 0.5, None),
        ("train", 1 if by_epoch else 2, None, 1.0),
        ("val", 1, 0.25, None),
    ]


@pytest.mark.parametrize("kind", ["EpochBasedRunner", "IterBasedRunner"])
def test_the_best_on_an_object_store(mmcv, tmp_path, kind):
    by_epoch = kind == "EpochBasedRunner"
    with packages("petrel_client", "petrel_client.client"):
        from mmcv.fileio.file_client import PetrelBackend

        loader = DataLoader(Sample([1, 4, 3]))
        runner = runner_in(tmp_path / "work", kind, 3)
        hook = mmcv.runner.EvalHook(
            loader, by_epoch=by_epoch, save_best="auto", out_dir="s3://user/data", test_fn=lambda model, data_loader: []
        )
        with (
            patch.object(PetrelBackend, "put") as put,
            patch.object(PetrelBackend, "remove") as remove,
            patch.object(PetrelBackend, "isfile", return_value=True) as isfile,
        ):
            runner.register_hook(hook)
            runner.run([loader], [("train", 1)])
    name = f"best_acc_{'epoch' if by_epoch else 'iter'}_2.pth"
    assert runner.meta["hook_msgs"]["best_ckpt"] == f"s3://user/data/work/{name}"
    assert put.call_count == 2
    remove.assert_called_once()
    isfile.assert_called_once()


def test_batch_norms_are_sent_to_all_ranks(mmcv, tmp_path):
    """What rank 0 has is broadcast before an evaluation, unless it is not wanted."""

    class WithNorm(Model):
        def __init__(self):
            super().__init__()
            self.bn = nn.BatchNorm1d(1)
            self.free = nn.BatchNorm1d(1, track_running_stats=False)

    test_fn = MagicMock(return_value=[])
    for broadcast, calls in ((True, 2), (False, 0)):
        loader = DataLoader(Sample())
        runner = runner_in(tmp_path)
        runner.model = WithNorm()
        hook = mmcv.runner.DistEvalHook(loader, test_fn=test_fn, broadcast_bn_buffer=broadcast, gpu_collect=True)
        runner.register_hook(hook)
        with patch("torch.distributed.broadcast") as send:
            runner.run([loader], [("train", 1)])
        assert send.call_count == calls
    test_fn.assert_called_with(
        runner.model, loader, tmpdir=os.path.join(runner.work_dir, ".eval_hook"), gpu_collect=True
    )


def test_a_model_is_tested_without_gradients(mmcv):
    from mmcv.engine import single_gpu_test

    class Echo(nn.Module):
        def forward(self, x, return_loss=True):
            assert not return_loss
            assert not torch.is_grad_enabled()
            return x.tolist()

    model = Echo()
    assert single_gpu_test(model, DataLoader(Sample())) == [[1.0]]
    assert not model.training
