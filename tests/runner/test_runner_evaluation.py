"""Validation loss and several validation sets, through the front door."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.engine import BaseLoop, Event, Hook, ValLoop
from trainwright.evaluation import Accuracy, Evaluator
from trainwright.hooks.checkpoint_hook import BestRules
from trainwright.registry import LOOPS
from trainwright.runner import Runner
from trainwright.testing.host_reads import count_host_reads
from trainwright.testing.recorder import EventRecorder, StopAt
from trainwright.testing.toys import ToyDataset, ToyModel, differences, toy_config, toy_loader

BY_ITER = {"by_epoch": False, "max_iters": 8, "val_interval": 4}


def build(tmp_path, **changes):
    return Runner.from_cfg(toy_config(tmp_path, **changes))


def scalars(runner):
    text = (Path(runner.log_dir) / "vis_data" / "scalars.json").read_text()
    return [json.loads(line) for line in text.splitlines()]


def set_loss(model, size=8, **settings):
    """The mean losses of the model over a whole validation set."""
    data = ToyDataset(size, **settings)
    batch = {"inputs": data.points, "label": torch.tensor(data.labels)}
    with torch.no_grad():
        return {name: float(value) for name, value in model.eval()(**batch, mode="loss").items()}


class Seen(Hook):
    """What a hook gets of validations and tests."""

    def __init__(self):
        self.metrics, self.batches, self.sets = [], [], []

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.batches.append(batch_idx)
        self.sets.append(runner.val_loop.running_set)

    def after_val_epoch(self, runner, metrics=None):
        self.metrics.append(metrics)

    after_test_epoch = after_val_epoch


# -- losses ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("train_cfg", [{"by_epoch": True, "max_epochs": 2}, BY_ITER])
def test_one_line_gives_the_validation_loss(tmp_path, train_cfg):
    seen = Seen()
    runner = build(
        tmp_path,
        model={"type": "ToyModel", "n_terms": 3, "dropout": 0.5},
        val_cfg={"loss": True},
        val_dataloader=toy_loader(10, 4, shuffle=False),  # the last batch is smaller
        train_cfg=train_cfg,
        custom_hooks=[seen],
    )
    runner.train()
    metrics = seen.metrics[-1]
    assert list(metrics) == ["accuracy/top1", "loss", "loss_ce", "loss_size", "loss_square"]
    expected = set_loss(runner.model, 10)
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert metrics["loss"] == pytest.approx(sum(expected.values()), rel=1e-6)
    assert runner.message_hub.get_scalar("val/loss").current() == metrics["loss"]
    assert runner.message_hub.get_scalar("val/loss_ce").current() == metrics["loss_ce"]
    line = [line for line in scalars(runner) if "accuracy/top1" in line][-1]
    assert line["val/loss"] == pytest.approx(metrics["loss"])
    assert "loss" not in line, "the curve of the training loss has that name"


def test_the_test_loop_gives_losses_too(tmp_path):
    runner = build(
        tmp_path,
        test_dataloader=toy_loader(8, shuffle=False),
        test_cfg={"loss": True},
        test_evaluator={"type": "Accuracy"},
    )
    metrics = runner.test()
    assert metrics["loss"] == pytest.approx(set_loss(runner.model)["loss"], rel=1e-6)
    written = json.loads((Path(runner.log_dir) / f"{runner.timestamp}.json").read_text())
    assert written["test/loss"] == pytest.approx(metrics["loss"])


def test_best_checkpoint_and_plateau_follow_the_loss(tmp_path):
    runner = build(
        tmp_path,
        val_cfg={"loss": True},
        default_hooks={"checkpoint": {"type": "CheckpointHook", "save_best": "loss"}},
        # More is better, it is told: then the falling loss makes it reduce the rate after each validation but one.
        param_scheduler={"type": "ReduceOnPlateauLR", "monitor": "loss", "patience": 0, "rule": "greater"},
        train_cfg={"by_epoch": True, "max_epochs": 4},
    )
    runner.train()
    best = next(hook for hook in runner.hooks if hasattr(hook, "bests")).bests[0]
    history = runner.message_hub.get_scalar("val/loss").data[0]
    assert best.rule == "less"
    assert best.score == min(history)
    assert sorted(history, reverse=True) == list(history)
    assert runner.optim_wrapper.param_groups[0]["lr"] < 0.05


class Preprocessed(nn.Module):
    def __init__(self):
        super().__init__()
        self.training_flags = []

    def forward(self, data, training):
        self.training_flags.append(training)
        data["inputs"] = data["inputs"] * 2  # into the batch itself, which is no reason to do it twice
        return data


def test_losses_go_through_the_preprocessor_and_the_model_s_own_sum(tmp_path):
    class Doubled(ToyModel):
        modes = []

        def forward(self, inputs, label=None, mode="tensor"):
            self.modes.append((mode, self.training, torch.is_grad_enabled()))
            return super().forward(inputs, label, mode)

        def parse_losses(self, losses):
            return losses["loss"], {"loss": 2 * losses["loss"], "constant": 3.0}

    torch.manual_seed(0)
    model = Doubled(data_preprocessor=Preprocessed())
    runner = Runner.from_cfg(toy_config(tmp_path, model=None, val_cfg={"loss": True}) | {"model": model})
    metrics = runner.val()
    data = ToyDataset(8)
    with torch.no_grad():
        expected = ToyModel.forward(model, 2 * data.points, torch.tensor(data.labels), "loss")["loss"]
    assert metrics["loss"] == pytest.approx(2 * float(expected), rel=1e-6)
    assert metrics["constant"] == 3.0
    assert model.data_preprocessor.training_flags == [False] * 4
    assert model.modes == [("predict", False, False), ("loss", False, False)] * 2


def test_under_autocast_when_asked_for(tmp_path):
    class Watched(ToyModel):
        seen = []

        def forward(self, inputs, label=None, mode="tensor"):
            self.seen.append((mode, torch.is_autocast_enabled("cpu")))
            return super().forward(inputs, label, mode)

    Runner.from_cfg(toy_config(tmp_path, val_cfg={"loss": True, "fp16": True}) | {"model": Watched()}).val()
    assert Watched.seen == [("predict", True), ("loss", True)] * 2


class DrawsInLoss(ToyModel):
    """A loss that draws, as those of diffusion models do, and a prediction that draws."""

    def forward(self, inputs, label=None, mode="tensor"):
        if mode == "loss":
            inputs = inputs + 0.01 * torch.randn_like(inputs)
        return super().forward(inputs, label, mode)


def test_nothing_else_changes_by_asking_for_losses(tmp_path):
    finals = []
    for name, val_cfg in (("with", {"loss": True}), ("without", {})):
        torch.manual_seed(0)
        model = DrawsInLoss(dropout=0.3, noisy_eval=True)
        runner = Runner.from_cfg(toy_config(tmp_path / name, val_cfg=val_cfg) | {"model": model})
        runner.train()
        accuracy = runner.message_hub.get_scalar("val/accuracy/top1").state_dict()
        finals.append({"model": model.state_dict(), "accuracy": accuracy, "rng": torch.get_rng_state()})
    assert not differences(*finals)


def test_the_host_reads_once_for_all_losses(tmp_path):
    class Reads(Hook):
        """Counts from the first iteration of validation to the last."""

        def before_val_epoch(self, runner):
            self.reads = count_host_reads()
            self.counted = self.reads.__enter__()

        def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            self.before_end = self.counted.total

        def after_val_epoch(self, runner, metrics=None):
            self.at_end = self.counted.total
            self.reads.__exit__(None, None, None)

    totals = []
    for loss in (True, False):
        reads = Reads()
        build(
            tmp_path / str(loss),
            model={"type": "ToyModel", "n_terms": 3},
            val_cfg={"loss": loss},
            val_dataloader=toy_loader(40, 4, shuffle=False),
            custom_hooks=[reads],
            default_hooks={"logger": None},
        ).val()
        totals.append((reads.before_end, reads.at_end))
    begin = totals[1][0]  # the order of the samples, which the loader puts into a list
    assert totals == [(begin, begin + 2), (begin, begin + 1)]


class Element:
    """A data element as far as the engine looks at it."""

    def __init__(self, **fields):
        self.fields = fields

    def __getattr__(self, name):
        return self.__dict__["fields"][name]

    def keys(self):
        return list(self.fields)

    def to_dict(self):
        return dict(self.fields)


class GivesLosses(ToyModel):
    def val_step(self, data):
        outputs = super().val_step(data)
        losses = self._run_forward(self.data_preprocessor(data, False), mode="loss")
        return [outputs, Element(loss=losses)]


@pytest.mark.parametrize(("val_cfg", "total"), [({}, "val_loss"), ({"loss": True}, "loss")])
def test_losses_that_a_model_puts_behind_its_predictions(tmp_path, val_cfg, total):
    """MMEngine's way: the names are those of the terms, and ``val_loss``."""
    model = GivesLosses(n_terms=2)
    forwards = []
    model.register_forward_pre_hook(lambda *args: forwards.append(1))
    metrics = Runner.from_cfg(toy_config(tmp_path, val_cfg=val_cfg) | {"model": model}).val()
    expected = set_loss(model)
    assert metrics["loss_ce"] == pytest.approx(expected["loss_ce"], rel=1e-6)
    assert metrics[total] == metrics["val_loss"] == pytest.approx(sum(expected.values()), rel=1e-6)
    assert ("loss" in metrics) == (total == "loss")
    assert len(forwards) == 5, "two for each batch, none again; and one above"


# -- several sets ------------------------------------------------------------------------------------------------------
def day_and_night(**changes):
    return {
        "val_dataloader": {"day": toy_loader(8, shuffle=False), "night": toy_loader(6, 3, shuffle=False, noise=0.5)},
        "val_evaluator": {"day": {"type": "Accuracy"}, "night": [{"type": "Accuracy", "topk": [1, 2]}]},
        **changes,
    }


def test_each_set_has_its_metrics(tmp_path):
    seen, recorder = Seen(), EventRecorder()
    runner = build(
        tmp_path,
        **day_and_night(val_cfg={"loss": True}, train_cfg={"by_epoch": True, "max_epochs": 1}),
        custom_hooks=[seen, recorder],
        default_hooks={"checkpoint": {"type": "CheckpointHook", "save_best": ["day/accuracy/top1", "night/loss"]}},
    )
    runner.train()
    (metrics,) = seen.metrics
    assert list(metrics) == [
        "day/accuracy/top1", "day/loss", "night/accuracy/top1", "night/accuracy/top2", "night/loss"
    ]  # fmt: skip
    assert metrics["day/loss"] == pytest.approx(set_loss(runner.model)["loss"], rel=1e-6)
    assert seen.batches == [0, 1, 2, 3]
    assert seen.sets == ["day", "day", "night", "night"]
    events = [event for event in recorder.events if "val" in event.value]
    assert events == [
        Event.BEFORE_VAL,
        Event.BEFORE_VAL_EPOCH,
        *[Event.BEFORE_VAL_ITER, Event.AFTER_VAL_ITER] * 4,
        Event.AFTER_VAL_EPOCH,
        Event.AFTER_VAL,
    ]
    for name, value in metrics.items():
        assert runner.message_hub.get_scalar(f"val/{name}").current() == pytest.approx(value)
    names = sorted(path.name for path in Path(tmp_path).glob("best_*"))
    assert names == ["best_day_accuracy_top1_epoch_1.pth", "best_night_loss_epoch_1.pth"]
    line = next(line for line in scalars(runner) if "day/accuracy/top1" in line)
    assert line["val/night/loss"] == pytest.approx(metrics["night/loss"])


def test_one_set_of_several_is_that_set_alone(tmp_path):
    changes = day_and_night()
    several = build(tmp_path / "all", **changes).val()
    for name in ("day", "night"):
        alone = build(
            tmp_path / name,
            val_dataloader=changes["val_dataloader"][name],
            val_evaluator=changes["val_evaluator"][name],
        ).val()
        assert {f"{name}/{key}": value for key, value in alone.items()}.items() <= several.items()


def test_one_evaluator_for_all_is_built_for_each(tmp_path):
    for evaluator in ({"type": "Accuracy"}, [{"type": "Accuracy"}], {"metrics": {"type": "Accuracy"}}):
        runner = build(tmp_path, **day_and_night(val_evaluator=evaluator))
        metrics = runner.val()
        assert list(metrics) == ["day/accuracy/top1", "night/accuracy/top1"]
        day, night = runner.val_evaluator["day"], runner.val_evaluator["night"]
        assert day.metrics[0] is not night.metrics[0]
        assert day.dataset_meta == ToyDataset.metainfo


def test_what_the_loop_shows(tmp_path):
    runner = build(tmp_path, **day_and_night())
    loop = runner.val_loop
    assert [name for name, _ in loop.dataloader.items()] == ["day", "night"]
    assert len(runner.val_dataloader) == len(list(runner.val_dataloader)) == 4
    assert len(runner.val_dataloader["night"].dataset) == 6
    assert [name for name, _ in loop.evaluator.items()] == ["day", "night"]
    single = build(tmp_path).val_loop
    assert isinstance(single.evaluator, Evaluator)
    assert single.running_set is None
    assert len(single.dataloader.dataset) == 8


def test_tests_have_sets_too(tmp_path):
    runner = build(
        tmp_path,
        test_dataloader={"a": toy_loader(8, shuffle=False), "b": toy_loader(4, shuffle=False)},
        test_evaluator={"type": "Accuracy"},
        test_cfg={},
    )
    assert list(runner.test()) == ["a/accuracy/top1", "b/accuracy/top1"]


@LOOPS.register_module()
class OwnRunIter(ValLoop):
    """As projects write it: the evaluator of the loop is told of the batch."""

    def run_iter(self, idx, data_batch):
        outputs = self.runner.model.val_step(data_batch)
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)


def test_a_loop_with_an_iteration_of_its_own(tmp_path):
    expected = build(tmp_path, **day_and_night()).val()
    assert build(tmp_path, **day_and_night(val_cfg={"type": "OwnRunIter"})).val() == expected


@LOOPS.register_module()
class ListLoop(BaseLoop):
    """As projects with several loaders have it in MMEngine."""

    def __init__(self, runner, dataloader, evaluator):
        self.given = (dataloader, evaluator)
        self._runner = runner

    def run(self):
        return {"n": float(len(self.given[0]))}


def test_a_list_goes_to_a_loop_of_the_user_s_as_it_is(tmp_path):
    loaders = [toy_loader(8), toy_loader(4)]
    evaluators = [{"type": "Evaluator", "metrics": [{"type": "Accuracy"}]}, [{"type": "Accuracy"}]]
    runner = build(tmp_path, val_dataloader=loaders, val_evaluator=evaluators, val_cfg={"type": "ListLoop"})
    assert runner.val() == {"n": 2.0}
    assert runner.val_loop.given == (loaders, evaluators)


def test_a_stopped_pass_leaves_nothing_behind(tmp_path):
    stop = StopAt(Event.AFTER_VAL_ITER, 1)
    runner = build(tmp_path, **day_and_night(), custom_hooks=[stop])
    assert runner.val() == {}
    assert runner.val_evaluator["day"].metrics[0].results
    runner.ctx.stop.clear()
    assert len(runner.val()) == 3


def log_lines(runner):
    text = (Path(runner.log_dir) / f"{runner.timestamp}.log").read_text()
    return [line.split(" - INFO - ", 1)[1] for line in text.splitlines() if " - INFO - " in line]


def test_progress_lines_show_no_loss_of_the_validation_before(tmp_path):
    logger = {"logger": {"type": "LoggerHook", "interval": 1}}
    runner = build(tmp_path, **day_and_night(val_cfg={"loss": True}), default_hooks=logger, log_level="INFO")
    runner.train()
    lines = [line for line in log_lines(runner) if line.startswith("Epoch(val) [2]")]
    assert [line.partition("    ")[0].split("  ")[0] for line in lines] == [
        f"Epoch(val) [2][{n}/4]" for n in (1, 2, 3, 4, 4)
    ]
    assert all("loss" not in line for line in lines[:-1])
    assert "val/day/loss: " in lines[-1]
    assert "val/night/loss: " in lines[-1]


@pytest.mark.parametrize(
    ("metric", "rule"),
    [
        ("loss", "less"),
        ("laptop/loss", "less"),
        ("acc_set/loss_ce", "less"),
        ("loss_set/accuracy/top1", "greater"),
        ("day/coco/bbox_mAP", "greater"),
        ("top/other", "greater"),
    ],
)
def test_what_is_better_is_told_by_the_last_part_of_a_name(metric, rule):
    assert BestRules().infer(metric) == rule


def test_a_whole_name_that_is_listed_decides():
    assert BestRules(greater=("night/loss",)).infer("night/loss") == "greater"
    assert BestRules(less=("day/top1",)).infer("day/top1") == "less"


# -- what is refused ---------------------------------------------------------------------------------------------------
def test_a_loader_without_a_length(tmp_path):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(ToyDataset(7))

    loader = {"dataset": Stream(), "batch_size": 3, "collate_fn": "default_collate"}
    hooks = {"logger": {"type": "LoggerHook", "interval": 1}}
    for loaders, shown in ((loader, "[3/?]"), ({"a": loader, "b": toy_loader(4)}, "[4/?]")):
        runner = build(tmp_path, val_dataloader=loaders, val_cfg={"loss": True}, default_hooks=hooks, log_level="INFO")
        metrics = runner.val()
        loss = metrics.get("loss", metrics.get("a/loss"))
        assert loss == pytest.approx(set_loss(runner.model, 7)["loss"], rel=1e-6)
        assert any(shown in line for line in log_lines(runner))


def test_a_model_without_a_mode_for_losses(tmp_path):
    class Plain(nn.Module):
        def val_step(self, data):
            raise AssertionError

    class NoMode(ToyModel):
        def forward(self, inputs, label=None):
            raise AssertionError

    class NoDict(ToyModel):
        def forward(self, inputs, label=None, mode="tensor"):
            return super().forward(inputs, label, "predict" if mode == "predict" else "tensor")

    cases = [
        (Plain(), ConfigError, r"val_cfg=dict\(loss=True\) asks for losses, and Plain has no _run_forward"),
        (NoMode(), ConfigError, r"forward\(\) of NoMode takes no mode, so there is none called 'loss'. Return a dict"),
        (NoDict(), ConfigTypeError, r"forward\(mode='loss'\) of NoDict must return a dict of losses, got Tensor"),
    ]
    for model, error, message in cases:
        runner = Runner.from_cfg(toy_config(tmp_path, val_cfg={"loss": True}) | {"model": model, "train_cfg": None,
                                                                                 "train_dataloader": None,
                                                                                 "optim_wrapper": None})  # fmt: skip
        with pytest.raises(error, match=message):
            runner.val()


def test_a_term_and_a_metric_of_one_name(tmp_path):
    metric = {"type": "ScriptedMetric", "loss": [1.0], "prefix": None}
    runner = build(tmp_path, val_cfg={"loss": True}, val_evaluator=metric)
    runner.val_evaluator  # noqa: B018
    runner.val_loop.evaluator.metrics[0].prefix = ""
    with pytest.raises(ConfigError, match="a metric and a loss term of the model both have the name 'loss'. Give the"):
        runner.val()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"val_evaluator": {"day": {"type": "Accuracy"}, "nigth": {"type": "Accuracy"}}},
            r"val_evaluator names 'nigth', which is no set of val_dataloader \(day, night\). Did you mean 'night'",
        ),
        ({"val_evaluator": {"day": {"type": "Accuracy"}}}, "val_evaluator has nothing for the set 'night' of val_data"),
        (
            {"val_evaluator": Evaluator(Accuracy())},
            r"built already, and the sets day, night need one each. Give a conf",
        ),
        ({"val_dataloader": [toy_loader(), toy_loader()]}, r"ValLoop takes one loader, or several by name, and val_da"),
        ({"val_dataloader": toy_loader()}, r"so it names sets \(day, night\), but val_dataloader is one loader. Give"),
        ({"val_dataloader": {"a/b": toy_loader()}, "val_evaluator": {"type": "Accuracy"}}, "'a/b' cannot be the name"),
    ],
)
def test_sets_that_do_not_fit(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        build(tmp_path, **day_and_night(**changes)).val()


def test_the_loop_itself_refuses_them_too(tmp_path):
    """For programs that hand their parts to the loop."""
    runner = build(tmp_path)
    loader = runner.build_dataloader(toy_loader())
    for loaders, evaluator, message in (
        ([loader], {"type": "Accuracy"}, "ValLoop takes one loader, or several by name, and val_dataloader is a list"),
        (loader, {"day": {"type": "Accuracy"}}, r"names sets \(day\), but val_dataloader is one loader"),
        ({"day": loader}, {"dya": {"type": "Accuracy"}}, "names 'dya', which is no set of val_dataloader"),
    ):
        with pytest.raises(ConfigError, match=message):
            ValLoop(runner, loaders, evaluator)
    assert ValLoop(runner, {"day": loader}, {"type": "Accuracy"}).dataloader["day"] is loader
