"""limit_batches, loaders without a length, and what validates before training."""

import pytest
import torch

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.engine import Event, TestLoop, ValLoop
from trainwright.runner import Runner
from trainwright.testing.recorder import EventRecorder, StopAt
from trainwright.testing.toys import ToyDataset, differences, toy_config, toy_loader

EPOCHS = {"by_epoch": True, "max_epochs": 3}
ITERS = {"by_epoch": False, "max_iters": 9, "val_interval": 3}


class Stream:
    """A loader that begins anew for each pass and has no length."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))


class Samples(torch.utils.data.IterableDataset):
    """16 points, from which a loader without a length is made."""

    def __iter__(self):
        points = ToyDataset(16)
        return (points[index] for index in range(16))


def streamed():
    return torch.utils.data.DataLoader(Samples(), batch_size=3)


# limits of training ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "length"), [(2, 2), (0.5, 2), (1.0, 4), (1, 1), (9, 4), (0.01, 1), (0.74, 2)])
def test_an_epoch_has_so_many_batches(tiny, limit, length):
    runner = tiny().train_epochs([10, 11, 12, 13], max_epochs=2, limit_batches=limit)
    assert runner.trained_on == [10, 11, 12, 13][:length] * 2
    clock = runner.ctx.clock
    assert (clock.epoch, clock.epoch_length, clock.max_iters) == (2, length, 2 * length)


def test_each_pass_of_iteration_based_training_has_so_many(tiny):
    runner = tiny().train_iters([10, 11, 12, 13], max_iters=5, limit_batches=2)
    assert runner.trained_on == [10, 11, 10, 11, 10]


def test_a_stream_has_epochs_where_they_are_given_a_length(tiny):
    endless = iter(range(100))
    runner = tiny().train_epochs(endless, max_epochs=2, limit_batches=3)
    assert runner.trained_on == [0, 1, 2, 3, 4, 5]
    assert next(endless) == 6  # no batch was read for nothing
    assert runner.ctx.clock.max_iters == 6


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (0, "train_cfg.limit_batches must be a whole number.*but got 0. To leave a part out, leave out its loader"),
        (-2, "but got -2"),
        (1.5, "up to 1.0, but got 1.5"),
        (float("nan"), "but got nan"),
    ],
)
def test_limits_that_are_none(tiny, limit, message):
    with pytest.raises(ConfigError, match=message):
        tiny().train_epochs([1, 2], max_epochs=1, limit_batches=limit)


@pytest.mark.parametrize("limit", ["2", True, [2]])
def test_limits_of_the_wrong_type(tiny, limit):
    with pytest.raises(ConfigTypeError, match="limit_batches must be a whole number of batches"):
        tiny().train_iters([1, 2], max_iters=1, limit_batches=limit)


def test_a_share_of_nobody_knows_how_many(tiny):
    with pytest.raises(ConfigError, match="limit_batches=0.5 is a share of the loader, and Stream has no length"):
        tiny().train_epochs(Stream(4), max_epochs=1, limit_batches=0.5)


def make(work_dir, **changes):
    changes.setdefault("train_dataloader", toy_loader(16, 4, noise=0.3))
    return Runner.from_cfg(toy_config(work_dir, **changes))


@pytest.mark.parametrize("train_cfg", [EPOCHS, ITERS], ids=["epochs", "iters"])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 6, 7])
@pytest.mark.parametrize("limit", [3, 0.75])
def test_a_limited_run_in_parts_is_the_run_in_one_piece(tmp_path, train_cfg, at, limit):
    changes = {"train_cfg": {**train_cfg, "limit_batches": limit}, "val_cfg": {"limit_batches": 1}}
    whole = make(tmp_path / "whole", **changes)
    whole.train()
    assert whole.iter == 9
    stop = StopAt(Event.AFTER_TRAIN_ITER, at, interrupts=True)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "parts", custom_hooks=[stop], **changes).train()
    rest = make(tmp_path / "parts", resume=True, **changes)
    rest.train()
    assert not differences(rest.strategy.state_tree(), whole.strategy.state_tree())


def test_a_schedule_that_is_converted_has_the_limited_epochs(tmp_path):
    schedule = {"type": "MultiStepLR", "milestones": [1], "convert_to_iter_based": True}
    runner = make(tmp_path, train_cfg={**EPOCHS, "limit_batches": 2}, param_scheduler=schedule)
    runner.train()
    rates = runner.message_hub.get_scalar("train/lr").data[0]
    assert [round(float(rate), 6) for rate in rates] == [0.1] * 2 + [0.01] * 4


def test_the_log_has_the_limited_lengths(tmp_path):
    runner = make(
        tmp_path,
        train_cfg={"by_epoch": True, "max_epochs": 1, "limit_batches": 2},
        val_cfg={"limit_batches": 1},
        default_hooks={"logger": {"type": "LoggerHook", "interval": 1}},
        log_level="INFO",
    )
    runner.train()
    text = next(tmp_path.glob("*/*.log")).read_text(encoding="utf-8")
    assert "Epoch(train) [1][2/2]" in text
    assert "Epoch(val) [1][1/1]" in text


# limits of evaluation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", [ValLoop, TestLoop])
@pytest.mark.parametrize(("limit", "length"), [(2, 2), (0.5, 2), (7, 4)])
def test_an_evaluation_ends_after_so_many_batches(tiny, evaluator, loop, limit, length):
    made = loop(tiny(), [[1], [2], [3], [4]], evaluator, limit_batches=limit)
    assert made.run() == {"n": float(length)}
    assert made.pass_length == length


def test_each_set_has_its_limit(tmp_path):
    sets = {"day": toy_loader(8, shuffle=False), "night": toy_loader(16, shuffle=False)}
    runner = make(tmp_path, val_dataloader=sets, val_cfg={"limit_batches": 0.5})
    assert set(runner.val()) == {"day/accuracy/top1", "night/accuracy/top1"}
    assert runner.val_loop.pass_length == 1 + 2


def test_metrics_are_those_of_what_was_seen(tmp_path):
    limited = make(tmp_path / "a", val_cfg={"limit_batches": 1}).val()
    assert limited == make(tmp_path / "b", val_dataloader=toy_loader(4, shuffle=False)).val()


@pytest.mark.parametrize("name", ["val_cfg", "test_cfg"])
def test_the_message_names_the_part(tmp_path, name):
    cfg = {"test_cfg": {}, "test_dataloader": toy_loader(8), "test_evaluator": {"type": "Accuracy"}}
    with pytest.raises(ConfigError, match=f"{name}.limit_batches must be a whole number of batches"):
        make(tmp_path, **{**cfg, name: {"limit_batches": -1}})


# loaders without a length ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("train_cfg", [EPOCHS, {**ITERS, "max_iters": 14}], ids=["epochs", "iters"])
@pytest.mark.parametrize("at", [2, 6, 7, 12])
def test_streams_in_every_part_and_across_a_resume(tmp_path, train_cfg, at):
    def runner(name, **changes):
        return make(
            tmp_path / name,
            train_cfg=train_cfg,
            train_dataloader=streamed(),
            val_dataloader=streamed(),
            test_dataloader=streamed(),
            test_cfg={},
            test_evaluator={"type": "Accuracy"},
            **changes,
        )

    whole = runner("whole")
    whole.train()
    assert whole.test()["accuracy/top1"] >= 0
    assert whole.iter == (18 if train_cfg is EPOCHS else 14)
    with pytest.raises(KeyboardInterrupt):
        runner("parts", custom_hooks=[StopAt(Event.AFTER_TRAIN_ITER, at, interrupts=True)]).train()
    rest = runner("parts", resume=True)
    rest.train()
    assert rest.iter == whole.iter
    assert not differences(rest.strategy.state_tree(), whole.strategy.state_tree())


@pytest.mark.parametrize(
    "schedule",
    [
        {"type": "CosineAnnealingLR", "by_epoch": False},
        {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False},
        {"type": "OneCycleLR", "eta_max": 0.1, "by_epoch": False},
    ],
    ids=lambda schedule: schedule["type"],
)
def test_a_schedule_to_an_end_that_nobody_knows(tmp_path, schedule):
    runner = make(tmp_path, train_cfg=EPOCHS, train_dataloader=streamed(), param_scheduler=schedule)
    with pytest.raises(ConfigError, match="nobody knows max_iters: .* Set its end=..., in iterations"):
        runner.train()


@pytest.mark.parametrize(
    "schedule",
    [
        {"type": "CosineAnnealingLR", "by_epoch": False, "end": 10},
        {"type": "CosineAnnealingLR", "by_epoch": False, "T_max": 10},
        {"type": "MultiStepLR", "milestones": [3], "by_epoch": False},
        {"type": "CosineAnnealingLR"},
    ],
)
def test_schedules_that_need_no_other_end(tmp_path, schedule):
    make(tmp_path, train_cfg=EPOCHS, train_dataloader=streamed(), param_scheduler=schedule).train()


def test_a_schedule_in_epochs_that_is_to_be_converted(tmp_path):
    schedule = {"type": "CosineAnnealingLR", "convert_to_iter_based": True}
    runner = make(tmp_path, train_cfg=EPOCHS, train_dataloader=streamed(), param_scheduler=schedule)
    with pytest.raises(ConfigError, match="needs the number of iterations in an epoch"):
        runner.train()


# before training ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("train_cfg", [EPOCHS, ITERS], ids=["epochs", "iters"])
def test_the_check_before_training_changes_nothing(tmp_path, train_cfg):
    recorders = [EventRecorder(), EventRecorder()]
    runners = []
    for n in (0, 1):
        changes = {"val_cfg": {"sanity_batches": n}, "custom_hooks": [recorders[n]], "train_cfg": train_cfg}
        changes["model"] = {"type": "ToyModel", "dropout": 0.3, "noisy_eval": True}
        runners.append(make(tmp_path / str(n), val_dataloader=toy_loader(8, noise=0.3), **changes))
        runners[-1].train()
    assert not differences(runners[0].strategy.state_tree(), runners[1].strategy.state_tree())
    assert recorders[0].moments == recorders[1].moments
    names = ["val/accuracy/top1", "train/loss"]
    for name in names:
        a, b = (runner.message_hub.get_scalar(name).data[0] for runner in runners)
        assert a.tolist() == b.tolist()


def test_it_uses_so_many_batches_of_a_fresh_training_only(tiny):
    runner = tiny()
    runner.val_loop = ValLoop(runner, [[1], [2], [3]], Counts(), sanity_batches=2)
    runner.train_epochs([1], max_epochs=1)
    assert runner.val_loop.evaluator.sizes == [2, 3]
    runner.train_loop._iter = 1
    runner.train_loop.run()
    assert runner.val_loop.evaluator.sizes == [2, 3]


class Counts:
    def __init__(self):
        self.n, self.sizes = 0, []

    def process(self, data_samples, data_batch):
        self.n += 1

    def evaluate(self, size):
        self.sizes.append(self.n)
        self.n = 0
        return {}


class Broken(Counts):
    def evaluate(self, size):
        raise RuntimeError("no such label")


def test_a_broken_evaluator_is_found_before_the_first_iteration(tiny):
    runner = tiny()
    runner.val_loop = ValLoop(runner, [[1], [2]], Broken(), sanity_batches=1)
    with pytest.raises(RuntimeError, match="no such label") as caught:
        runner.train_epochs([1, 2], max_epochs=1)
    assert "check of validation before training (val_cfg.sanity_batches=1)" in str(
        getattr(caught.value, "__notes__", caught.value.args)
    )
    assert runner.trained_on == []
    assert runner.recorder.events == [Event.BEFORE_TRAIN, Event.ON_EXCEPTION, Event.TRAIN_CLOSED]


def test_what_can_be_read_once_is_not_used_up(tiny):
    runner = tiny()
    runner.val_loop = ValLoop(runner, iter([[1], [2]]), Counts(), sanity_batches=1)
    with pytest.raises(ConfigError, match="can be read only once"):
        runner.train_epochs([1], max_epochs=1)


@pytest.mark.parametrize(("value", "error"), [(-1, ConfigError), (True, ConfigTypeError), (1.5, ConfigTypeError)])
def test_numbers_of_batches_to_check_with(tiny, value, error):
    with pytest.raises(error, match="val_cfg.sanity_batches must be"):
        ValLoop(tiny(), [1], Counts(), sanity_batches=value)
