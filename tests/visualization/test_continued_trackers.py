import json

import numpy as np
import pytest
from tracker_readers import tensorboard

from trainwright import Runner
from trainwright.registry import VISUALIZERS
from trainwright.runner.builders import build_visualizer
from trainwright.runner.check import validate
from trainwright.testing.toys import toy_config
from trainwright.visualization import Visualizer, read_run
from trainwright.visualization.scalars import Cut
from trainwright.visualization.trackers.base import Tracker, finite


def train(folder, epochs, **changes):
    backends = [{"type": "LocalVisBackend"}, {"type": "TensorboardVisBackend"}]
    hooks = {
        "logger": {"type": "LoggerHook", "interval": changes.pop("interval", 2)},
        "checkpoint": {"type": "CheckpointHook", "interval": 1, "max_keep_ckpts": -1},
    }
    cfg = toy_config(
        folder,
        train_cfg={"by_epoch": True, "max_epochs": epochs},
        default_hooks=hooks,
        visualizer={"type": "Visualizer", "vis_backends": backends},
        **changes,
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def in_32_bits(points):
    return {name: sorted((step, float(np.float32(value))) for step, value in found) for name, found in points.items()}


def test_a_resumed_run_goes_on_in_the_event_files_without_what_it_trains_again(tmp_path):
    pytest.importorskip("tensorboard")
    first = train(tmp_path / "work", 3)
    second = train(tmp_path / "work", 4, interval=4, load_from=str(tmp_path / "work" / "epoch_2.pth"), resume=True)
    folders = [tmp_path / "work" / runner.timestamp / "vis_data" for runner in (first, second)]
    assert json.loads((folders[1] / "resumed.json").read_text()) == {
        "iter": 8,
        "val_due": True,
        "parts": [first.timestamp],
    }
    assert list(folders[1].glob("*tfevents*")) == []
    found = tensorboard(folders[0])
    assert in_32_bits(found) == in_32_bits(read_run(tmp_path / "work").points())
    assert [step for step, _ in found["loss"]] == [2, 4, 6, 8, 12, 16]
    assert [step for step, _ in found["accuracy/top1"]] == [1, 2, 3, 4]


def test_a_run_that_is_resumed_in_another_folder_is_another_run(tmp_path):
    pytest.importorskip("tensorboard")
    train(tmp_path / "work", 2)
    train(tmp_path / "other", 3, load_from=str(tmp_path / "work" / "epoch_2.pth"), resume=True)
    (folder,) = (tmp_path / "other").glob("*/vis_data")
    assert not (folder / "resumed.json").exists()
    assert [step for step, _ in tensorboard(folder)["loss"]] == [10, 12]


def test_a_run_that_goes_back_in_time_cuts_its_trackers(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.summary.writer import event_file_writer

    # Files of one second are read in the order of their numbers as text: 10 would come before 9.
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))
    visualizer = Visualizer(
        vis_backends=[{"type": "LocalVisBackend"}, {"type": "TensorboardVisBackend"}], save_dir=str(tmp_path / "now")
    )
    for step in (10, 20, 30):
        visualizer.add_scalars({"loss": 1.0 / step, "lr": 0.1, "iter": step}, step=step)
    states = visualizer.tracker_states()
    visualizer.go_on(states, 15, False, str(tmp_path), ["now"])
    visualizer.add_scalars({"loss": 0.5, "lr": 0.1, "iter": 30}, step=30)
    visualizer.close()
    folder = tmp_path / "now" / "vis_data"
    assert tensorboard(folder)["loss"] == [(10, float(np.float32(0.1))), (30, 0.5)]
    assert not (folder / "resumed.json").exists()
    assert not visualizer._guards["TensorboardVisBackend"].is_dropped


class Told(Tracker):
    """Notes what it is asked for; it stands on a package that is always there."""

    package = "json"

    def __init__(self, save_dir):
        super().__init__(save_dir)
        self.calls = []

    def add_config(self, config, **kwargs):
        self.calls.append("config")

    def log_numbers(self, numbers, step):
        self.calls.append(step)

    def _go_on(self, state):
        self.calls.append(dict(state))


def test_the_config_goes_to_a_tracker_with_the_first_numbers(tmp_path):
    tracker = Told(str(tmp_path / "now" / "vis_data"))
    visualizer = Visualizer(vis_backends=tracker)
    visualizer.add_config({})
    visualizer.close()
    assert tracker.calls == []
    assert visualizer.tracker_states() == {}
    visualizer.add_scalars({"loss": 1.0}, step=3)
    assert tracker.calls == ["config", 3]
    assert visualizer.tracker_states() == {"Told": {"folder": "now/vis_data"}}
    visualizer.close()


def test_a_tracker_that_cannot_take_points_out_says_so(tmp_path, caplog):
    tracker = Told(str(tmp_path / "later" / "vis_data"))
    tracker.take_up({"folder": "now/vis_data"}, Cut(25, {"loss": [(30, 1.0)]}, {}))
    assert tracker.save_dir == str(tmp_path / "now" / "vis_data")
    assert tracker.calls == [{"folder": "now/vis_data"}]
    assert not tracker.discard({})


def test_numbers_that_a_tracker_has_not(tmp_path):
    assert finite({"a": 1.0, "b": float("nan"), "c": float("inf")}) == {"a": 1.0}


class OtherVisualizer(Visualizer):
    pass


@pytest.mark.parametrize("first", [Visualizer, OtherVisualizer])
def test_a_visualizer_of_the_same_name_makes_way_in_every_class(tmp_path, monkeypatch, first):
    monkeypatch.setitem(VISUALIZERS._module_dict, "OtherVisualizer", OtherVisualizer)
    old = first.get_instance("same", save_dir=str(tmp_path))
    new = build_visualizer({"type": "OtherVisualizer"}, "same", str(tmp_path / "new"))
    assert new is not old
    assert type(new) is OtherVisualizer
    assert OtherVisualizer.get_instance("same") is new
    assert Visualizer.get_instance("same") is new
    new.forget()


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"type": "WandbVisBackends"}, "Did you mean 'WandbVisBackend'"),
        ({"type": "WandbVisBackend", "init_kwarg": {}}, "init_kwargs"),
        ({"type": "LocalVisBackend", "scalar_file": "a.json"}, "scalar_file"),
    ],
)
def test_a_wrong_writer_is_found_in_the_config(tmp_path, entry, text):
    cfg = toy_config(tmp_path, visualizer={"type": "Visualizer", "vis_backends": [entry]})
    (problem,) = [it for it in validate(cfg) if it.where[:1] == ("visualizer",)]
    assert text in problem.message
    assert problem.level == "error"
