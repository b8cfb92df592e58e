"""LogProcessor, HistoryBuffer and MessageHub beside MMEngine's: the same numbers in, the same lines and scalars out."""

import inspect
import itertools
import random
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from trainwright.base.errors import TrainwrightError
from trainwright.runner import LogProcessor
from trainwright.state import Clock, HistoryBuffer, MessageHub

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]  # MMEngine's own warnings
theirs = pytest.importorskip("mmengine.logging")
their_processor = pytest.importorskip("mmengine.runner").LogProcessor


@pytest.fixture(autouse=True)
def own_statistics(monkeypatch):
    monkeypatch.setattr(HistoryBuffer, "_statistics", {})
    monkeypatch.setattr(theirs.HistoryBuffer, "_statistics_methods", dict(theirs.HistoryBuffer._statistics_methods))


def runner_with(hub, at):
    loader = {mode: SimpleNamespace(dataloader=range(at[f"{mode}_length"])) for mode in ("train", "val", "test")}
    loops = {f"{mode}_loop": loop for mode, loop in loader.items()}
    counters = {name: at[name] for name in ("epoch", "iter", "max_epochs", "max_iters")}
    return SimpleNamespace(
        message_hub=hub,
        ctx=SimpleNamespace(clock=Clock()),
        strategy=SimpleNamespace(device=torch.device("cpu")),
        by_epoch=True,
        _train_loop=loops["train_loop"],
        **counters,
        **loops,
    )


AT = {"epoch": 2, "iter": 24, "max_epochs": 12, "max_iters": 120, "train_length": 10, "val_length": 7, "test_length": 3}


def filled(hub, seed, n=40):
    draw = random.Random(seed)
    # A validation of our engine shows the losses that a hook puts; MMEngine's has no way to show any.
    names = ["train/lr", "train/base_lr", "train/time", "train/data_time", "train/loss", "train/loss_cls"]
    names += [
        "train/grad_norm",
        "train/score",
        "train_note",
        "val/time",
        "val/data_time",
        "test/time",
        "test/data_time",
    ]
    for _ in range(n):
        for name in names:
            hub.update_scalar(name, draw.random(), draw.choice([1, 1, 3]))
    for name in ("val/coco/bbox_mAP", "val/acc", "test/acc", "train/momentum"):
        hub.update_scalar(name, draw.random())
    hub.update_info("eta", 3725.9)
    hub.update_info("val/table", "| a | b |")
    hub.update_info("test/per_class", torch.tensor([1.0, 2.0]))
    hub.update_info("test/names", ["cat", "dog"])
    return hub


def both(settings, seed=0, at=AT):
    """(processor, runner) of ours and of theirs, with the same history."""
    ours = LogProcessor(**settings), runner_with(filled(MessageHub("ours"), seed), at)
    other = their_processor(**settings), runner_with(filled(theirs.MessageHub("theirs"), seed), at)
    return ours, other


def same(ours, others):
    """The same scalars in the same order, and the same line; memory on a CPU is ours alone."""
    (tag, line), (their_tag, their_line) = ours, others
    tag = {name: value for name, value in tag.items() if name != "memory"}
    assert list(tag) == list(their_tag)
    for name, value in tag.items():
        assert (value is None and their_tag[name] is None) or np.all(value == pytest.approx(their_tag[name], rel=1e-12))
    assert re.sub(r"memory: \d+  |  memory: \d+$", "", line).rstrip() == their_line.rstrip()


CUSTOM = [
    {"data_src": "loss", "log_name": "loss_epoch", "method_name": "mean", "window_size": "epoch"},
    {"data_src": "loss", "log_name": "loss_worst", "method_name": "max", "window_size": "global"},
    {"data_src": "loss", "method_name": "min", "window_size": 4},
    {"data_src": "time", "log_name": "newest", "method_name": "current"},
    {"data_src": "score", "log_name": "score_mean", "method_name": "mean", "window_size": 100},
    {"data_src": "nowhere", "method_name": "mean", "window_size": 2},
]
SETTINGS = [
    {},
    {"window_size": 3},
    {"window_size": 1000, "num_digits": 2},
    {"num_digits": 7, "log_with_hierarchy": True},
    {"mean_pattern": "score|momentum"},
    {"mean_pattern": "^nothing$"},
    {"custom_cfg": CUSTOM},
    {"custom_cfg": CUSTOM, "log_with_hierarchy": True, "window_size": 5},
]


def by_epoch(settings, value):
    """Settings for that unit: a window of an epoch belongs to by_epoch=True, and MMEngine wants every window said."""
    custom = [
        {"window_size": 1, **item} if item.get("method_name") != "current" else item
        for item in settings.get("custom_cfg", ())
        if value or item.get("window_size") != "epoch"
    ]
    if not value:
        custom = [item for item in custom if "window_size" in item]
    return {**settings, "by_epoch": value, **({"custom_cfg": custom} if custom else {})}


@pytest.mark.parametrize(("number", "unit", "mode"), list(itertools.product(range(8), (True, False), ("train", "val"))))
def test_after_an_iteration(number, unit, mode):
    for seed, batch_idx in enumerate((0, 4, 9)):
        (ours, runner), (other, their_runner) = both(by_epoch(SETTINGS[number], unit), seed)
        same(ours.get_log_after_iter(runner, batch_idx, mode), other.get_log_after_iter(their_runner, batch_idx, mode))


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("max_epochs", [3, 12, 100])
def test_columns_of_a_test_and_of_long_runs(unit, max_epochs):
    at = {**AT, "max_epochs": max_epochs, "max_iters": 10 * max_epochs}
    (ours, runner), (other, their_runner) = both({"by_epoch": unit}, 0, at)
    for mode in ("train", "val", "test"):
        same(ours.get_log_after_iter(runner, 1, mode), other.get_log_after_iter(their_runner, 1, mode))


@pytest.mark.parametrize(("unit", "mode"), list(itertools.product((True, False), ("val", "test"))))
@pytest.mark.parametrize("non_scalar", [True, False])
def test_after_an_epoch(unit, mode, non_scalar):
    at = {**AT, "val_length": 40, "test_length": 40}  # the whole history: where MMEngine's window is one too long
    for number, settings in enumerate(SETTINGS[:4]):
        (ours, runner), (other, their_runner) = both(by_epoch(settings, unit), number, at)
        arguments = (40, mode, non_scalar)
        tag, line = ours.get_log_after_epoch(runner, *arguments)
        their_tag, their_line = other.get_log_after_epoch(their_runner, *arguments)
        assert line == their_line.rstrip()
        assert list(tag) == list(their_tag)


@pytest.mark.parametrize("mode", ["train", "nothing"])
def test_modes_that_are_none(mode):
    (ours, runner), (other, their_runner) = both({})
    for processor, of in ((ours, runner), (other, their_runner)):
        with pytest.raises((ValueError, AssertionError)):
            processor.get_log_after_epoch(of, 3, mode)


def test_the_pieces_that_subclasses_override_or_call():
    (ours, runner), (other, their_runner) = both({"custom_cfg": CUSTOM})
    for name in ("_parse_windows_size", "_collect_scalars", "_collect_non_scalars", "_get_iter", "_get_epoch"):
        assert list(inspect.signature(getattr(ours, name)).parameters) == list(
            inspect.signature(getattr(other, name)).parameters
        )
    assert ours._parse_windows_size(runner, 3) == other._parse_windows_size(their_runner, 3)
    assert ours._collect_scalars([], runner, "val", True) == other._collect_scalars([], their_runner, "val", True)
    assert ours._collect_non_scalars(runner, "val") == other._collect_non_scalars(their_runner, "val")
    assert ours._get_iter(runner, 3) == other._get_iter(their_runner, 3)
    for mode in ("train", "val"):
        assert ours._get_epoch(runner, mode) == other._get_epoch(their_runner, mode)
        assert ours._get_dataloader_size(runner, mode) == other._get_dataloader_size(their_runner, mode)
        assert ours._get_cur_loop(runner, mode) is getattr(runner, f"{mode}_loop")
    with pytest.raises(ValueError, match="mode must be train or val here, but got 'test'"):
        ours._get_epoch(runner, "test")


@pytest.mark.parametrize("override", ["_get_dataloader_size", "_get_epoch", "_get_max_memory", "_get_iter"])
def test_what_a_subclass_overrides_is_in_the_line(override):
    lines = []
    for base, at in ((LogProcessor, 0), (their_processor, 1)):
        made = type("Own", (base,), {override: lambda self, *args, **kwargs: 777})
        runner = both({})[at][1]
        lines.append(made(by_epoch=True).get_log_after_iter(runner, 3, "train")[1])
    assert "777" in lines[0]
    assert "777" in lines[1] or override == "_get_max_memory"


@pytest.mark.parametrize("seed", range(20))
def test_statistics_of_a_history(seed):
    draw = random.Random(seed)
    length = draw.choice([3, 10, 1000])
    ours, other = HistoryBuffer(max_length=length), theirs.HistoryBuffer(max_length=length)
    for n in range(60):
        value, count = draw.choice([draw.random(), n]), draw.choice([1, 4])
        ours.update(value, count)
        other.update(value, count)
        window = draw.choice([None, 1, 2, 7, 500])
        for name in ("mean", "max", "min"):
            found = ours.statistics(name, window), other.statistics(name, window_size=window)
            assert found[0] == pytest.approx(found[1], rel=1e-14)
        assert ours.current() == other.current() == ours.statistics("current")
        for mine, their in zip(ours.data, other.data, strict=True):
            np.testing.assert_array_equal(mine, their)


def test_a_registered_statistic_is_used():
    def spread(buffer, window_size, scale=1.0):
        return scale * (buffer.max(window_size) - buffer.min(window_size))

    for cls in (HistoryBuffer, theirs.HistoryBuffer):
        assert cls.register_statistics(spread) is spread
    item = {"data_src": "loss", "method_name": "spread", "window_size": 6, "scale": 2.0, "log_name": "swing"}
    (ours, runner), (other, their_runner) = both({"custom_cfg": [item]})
    same(ours.get_log_after_iter(runner, 2, "train"), other.get_log_after_iter(their_runner, 2, "train"))


@pytest.mark.parametrize(
    "call",
    [
        lambda buffer: buffer.update("3"),
        lambda buffer: buffer.update(1.0, "3"),
        lambda buffer: buffer.statistics("none"),
        lambda buffer: buffer.current(),
        lambda buffer: buffer.mean("3"),
        lambda buffer: buffer.register_statistics(HistoryBuffer.max),
    ],
)
def test_errors_of_a_history(call):
    kinds = []
    for cls in (HistoryBuffer, theirs.HistoryBuffer):
        with pytest.raises((TypeError, ValueError, KeyError, AssertionError)) as error:
            call(cls())
        kinds.append(error.type)
    assert issubclass(kinds[0], kinds[1]) or kinds[1] is AssertionError


def test_a_message_hub_is_filled_and_read_the_same_way():
    hubs = [MessageHub("a"), theirs.MessageHub("a")]
    for hub in hubs:
        hub.update_scalar("loss", torch.tensor(1.5), 2)
        hub.update_scalar("loss", np.float32(2.5))
        hub.update_scalars({"x": np.array([3.0]), "y": {"value": 1, "count": torch.tensor(4)}, "z": 2}, resumed=False)
        hub.update_info_dict({"stage": "train", "gone": 1})
        hub.update_info("secret", 5, resumed=False)
        assert hub.pop_info("gone") == 1
        assert hub.pop_info("gone", "left") == "left"
    ours, other = hubs
    assert list(ours.log_scalars) == list(other.log_scalars)
    for name, history in ours.log_scalars.items():
        for mine, their in zip(history.data, other.get_scalar(name).data, strict=True):
            np.testing.assert_array_equal(mine, their)
    assert ours.runtime_info == other.runtime_info
    assert {k: v for k, v in ours.resumed_keys.items() if k != "gone"} == {
        k: v for k, v in other._resumed_keys.items() if k != "gone"
    }
    states = [hub.state_dict() for hub in hubs]
    for part in ("log_scalars", "runtime_info"):
        assert list(states[0][part]) == list(states[1][part])


@pytest.mark.parametrize(
    "call",
    [
        lambda hub: hub.get_scalar("nothing"),
        lambda hub: hub.update_scalars({"a": {"count": 2}}),
        lambda hub: hub.update_scalars([1]),
        lambda hub: hub.update_scalar("a", 1.0, 1.5),
        lambda hub: hub.update_scalar("a", torch.ones(2)),
        lambda hub: hub.update_info_dict([1]),
        lambda hub: (hub.update_info("a", 1), hub.update_info("a", 1, resumed=False)),
        lambda hub: type(hub)("b", log_scalars={"a": 1}),
        lambda hub: type(hub)("b", runtime_info=[1]),
        lambda hub: type(hub)("b", resumed_keys={"a": True}),
    ],
)
def test_errors_of_a_message_hub(call):
    for cls in (MessageHub, theirs.MessageHub):
        with pytest.raises((TrainwrightError, KeyError, AssertionError, TypeError)):
            call(cls("errors"))


@pytest.mark.parametrize("name", ["LogProcessor", "HistoryBuffer", "MMLogger", "print_log"])
def test_parameters_and_their_order(name):
    from trainwright.base import logs

    ours = {"LogProcessor": LogProcessor, "HistoryBuffer": HistoryBuffer}.get(name) or getattr(logs, name)
    other = their_processor if name == "LogProcessor" else getattr(theirs, name)
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(other).parameters)


def test_public_methods_are_all_there():
    from trainwright.base.logs import MMLogger

    pairs = [(LogProcessor, their_processor), (HistoryBuffer, theirs.HistoryBuffer), (MessageHub, theirs.MessageHub)]
    for ours, other in [*pairs, (MMLogger, theirs.MMLogger)]:
        assert not [name for name in dir(other) if not name.startswith("_") and not hasattr(ours, name)]
