import json
import sys
import types

import numpy as np
import pytest
import torch

from trainwright.base.errors import ConfigTypeError, MissingExtraError
from trainwright.config import Config
from trainwright.registry import VISBACKENDS
from trainwright.visualization import LocalVisBackend, Visualizer
from trainwright.visualization.trackers import Tracker
from trainwright.visualization.trackers.base import as_number, as_plain, files_with_suffix, flatten

PACKAGES = {
    "AimVisBackend": "aim",
    "ClearMLVisBackend": "clearml",
    "DVCLiveVisBackend": "dvclive",
    "MLflowVisBackend": "mlflow",
    "NeptuneVisBackend": "neptune",
    "SwanLabVisBackend": "swanlab",
    "TensorboardVisBackend": "tensorboard",
    "WandbVisBackend": "wandb",
}
PICTURE = np.full((4, 5, 3), 51, np.uint8)


class Spy(types.ModuleType):
    """Stands in for a package: whatever is called on it is noted, with its path, and gives another of its kind."""

    def __init__(self, name, calls, values):
        super().__init__(name)
        self.__dict__.update(_calls=calls, _values=values)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        path = f"{self.__name__}.{name}"
        return self._values.get(path) or Spy(path, self._calls, self._values)

    def __setattr__(self, name, value):
        self._calls.append((f"{self.__name__}.{name} =", value))

    def __call__(self, *args, **kwargs):
        self._calls.append((self.__name__, *args, *([dict(kwargs)] if kwargs else [])))
        path = f"{self.__name__}()"
        return self._values[path] if path in self._values else Spy(path, self._calls, self._values)

    def __getitem__(self, key):
        return Spy(f"{self.__name__}[{key}]", self._calls, self._values)

    def __setitem__(self, key, value):
        self._calls.append((f"{self.__name__}[{key}] =", value))

    def __repr__(self):
        return self.__name__


@pytest.fixture
def spied(monkeypatch):
    """Put a stand-in in the place of a package; gives the list of calls."""

    def spied(name, **values):
        calls = []
        spy = Spy(name, calls, {f"{name}.{path}": value for path, value in values.items()})
        monkeypatch.setitem(sys.modules, name, spy)
        for part in ("types", "store", "store.tracking", "store.tracking.sqlalchemy_store"):
            monkeypatch.setitem(sys.modules, f"{name}.{part}", Spy(f"{name}.{part}", calls, {}))
        return calls

    return spied


@pytest.fixture
def config(tmp_path):
    """A config whose work folder holds a file."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "a.py").write_text("")
    return Config({"work_dir": str(tmp_path / "work"), "model": {"type": "A", "sizes": [1, 2]}, "pipe": [{"k": 1}]})


def feed(backend, config):
    """What a run writes: its config, two lines, a picture."""
    backend.add_config(config)
    numbers = {"loss": torch.tensor(0.5), "note": "text"}
    if backend.step_is_apart:
        with pytest.raises(AssertionError, match=r"gets the step as add_scalars\(..., step=\), and none among"):
            backend.add_scalars({**numbers, "step": 7}, step=3)
        backend.add_scalars(numbers, step=7)
    else:
        backend.add_scalars({**numbers, "step": 7}, step=3)
    backend.add_scalar("lr", np.float64(0.25), step=8)
    backend.add_image("cat", PICTURE, step=9)
    backend.close()


def test_the_names_of_configs():
    for name in PACKAGES:
        assert VISBACKENDS.get(name).package == PACKAGES[name]
    assert VISBACKENDS.get("SwanlabVisBackend") is VISBACKENDS.get("SwanLabVisBackend")


@pytest.mark.parametrize(("name", "package"), PACKAGES.items())
def test_a_package_that_is_not_there_is_an_error_when_the_writer_is_made(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    command = r"trainwright\[vis\]" if package == "tensorboard" else f"pip install {package}"
    with pytest.raises(MissingExtraError, match=f"{name} needs the package '{package}'.*{command}"):
        VISBACKENDS.get(name)("folder")


@pytest.mark.parametrize("name", [name for name in PACKAGES if name != "TensorboardVisBackend"])
def test_nothing_is_opened_before_something_is_written(name, spied, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = spied(PACKAGES[name])
    backend = VISBACKENDS.get(name)(str(tmp_path / "none"))
    backend.close()
    assert [call for call in calls if "active_run" not in call[0]] == []
    assert not (tmp_path / "none").exists()


def test_wandb(spied, config, tmp_path):
    calls = spied("wandb", **{"init().id": "abc"})
    backend = VISBACKENDS.get("WandbVisBackend")(
        str(tmp_path), {"project": "p"}, {"acc": "max"}, log_code_name="code", watch_kwargs={"log": "all"}
    )
    assert repr(backend.experiment) == "wandb"
    model = torch.nn.Linear(1, 1)
    backend.add_graph(model, [])
    feed(backend, config)
    assert calls == [
        ("wandb.init", {"project": "p", "dir": str(tmp_path)}),
        ("wandb.define_metric", "acc", {"summary": "max"}),
        ("wandb.init().watch", model, {"log": "all"}),
        ("wandb.config.update", config.to_dict(), {"allow_val_change": False}),
        ("wandb.init().log_code", {"name": "code"}),
        ("wandb.init().log", {"loss": 0.5, "step": 7}, {"commit": True}),
        ("wandb.init().log", {"lr": 0.25, "step": 8}, {"commit": True}),
        calls[7],
        ("wandb.init().log", {"cat": calls[8][1]["cat"], "step": 9}, {"commit": True}),
        ("wandb.init().finish",),
    ]
    assert calls[7][0] == "wandb.Image"
    calls.clear()
    backend.add_scalar("lr", 1.0, step=10)
    assert calls[0] == ("wandb.init", {"project": "p", "dir": str(tmp_path), "id": "abc", "resume": "allow"})


def test_wandb_takes_metrics_as_a_list_and_refuses_the_rest(spied, tmp_path):
    calls = spied("wandb")
    kind = VISBACKENDS.get("WandbVisBackend")
    kind(str(tmp_path), define_metric_cfg=[{"name": "loss", "step_metric": "epoch"}]).open()
    assert calls[1:] == [("wandb.define_metric", {"name": "loss", "step_metric": "epoch"})]
    calls.clear()
    kind(str(tmp_path), {"reinit": "create_new"}, {"acc": "max"}).open()
    assert calls[1:] == [("wandb.init().define_metric", "acc", {"summary": "max"})]
    with pytest.raises(ConfigTypeError, match="define_metric_cfg must be a dict or a list of dicts, but got a str"):
        kind(str(tmp_path), define_metric_cfg="loss")


def test_mlflow(spied, config, tmp_path):
    values = {"active_run()": None, "get_experiment_by_name()": None, "start_run().info.run_id": "r1"}
    values["get_run().data.params"] = {"model.type": "A"}
    calls = spied("mlflow", **values)
    folder = config.work_dir + "/vis"
    backend = VISBACKENDS.get("MLflowVisBackend")(folder, "e", "r", {"t": 1}, {"p": 2})
    feed(backend, config)
    flat = {"work_dir": config.work_dir, "model.type": "A", "model.sizes": [1, 2], "pipe.0.k": 1}
    image = calls.pop(-3)
    assert image[0] == "mlflow.log_image"
    assert (image[1] == PICTURE).all()
    assert image[2] == "cat_9.png"
    assert calls == [
        ("mlflow.active_run",),
        ("mlflow.set_tracking_uri", f"sqlite:///{folder}/mlflow.db"),
        (
            "mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore",
            f"sqlite:///{folder}/mlflow.db",
            f"file://{folder}/mlartifacts",
        ),
        ("mlflow.get_experiment_by_name", "e"),
        ("mlflow.create_experiment", "e", {"artifact_location": f"file://{folder}/mlartifacts"}),
        ("mlflow.set_experiment", "e"),
        ("mlflow.start_run", {"run_id": None, "run_name": "r"}),
        ("mlflow.set_tags", {"t": 1}),
        ("mlflow.log_params", {"p": 2}),
        ("mlflow.log_params", flat),
        ("mlflow.log_text", config.pretty_text, "config.py"),
        ("mlflow.log_metrics", {"loss": 0.5}, 7),
        ("mlflow.log_metrics", {"lr": 0.25}, 8),
        ("mlflow.log_artifact", f"{config.work_dir}/a.py", None),
        ("mlflow.end_run",),
    ]
    calls.clear()
    backend.add_scalar("lr", 1.0)
    assert ("mlflow.start_run", {"run_id": "r1", "run_name": "r"}) in calls


def test_mlflow_with_a_server_some_keys_and_a_run_of_the_caller(spied, config, tmp_path):
    calls = spied("mlflow", **{"active_run().info.run_id": "outer"})
    backend = VISBACKENDS.get("MLflowVisBackend")(str(tmp_path), tracked_config_keys=["pipe"], artifact_suffix=".x")
    feed(backend, config)
    assert calls[1] == ("mlflow.start_run", {"run_id": "outer"})
    assert ("mlflow.log_params", {"pipe.0.k": 1}) in calls
    assert not {"mlflow.end_run", "mlflow.set_tracking_uri", "mlflow.log_artifact"} & {call[0] for call in calls}
    calls = spied("mlflow", **{"active_run()": None})
    backend = VISBACKENDS.get("MLflowVisBackend")(str(tmp_path), tracking_uri="http://host")
    backend.open()
    assert [call for call in calls if "uri" in call[0]] == [("mlflow.set_tracking_uri", "http://host")]
    assert ("mlflow.set_experiment", "Default") in calls


def test_clearml(spied, config):
    calls = spied("clearml", **{"Task.init().id": "t1"})
    backend = VISBACKENDS.get("ClearMLVisBackend")(init_kwargs={"project_name": "p"})
    feed(backend, config)
    logger = "clearml.Task.init().get_logger()"
    picture = calls.pop(6)
    assert picture[0] == f"{logger}.report_image"
    assert (picture[1]["title"], picture[1]["iteration"], picture[1]["image"].shape) == ("cat", 9, (4, 5, 3))
    assert calls == [
        ("clearml.Task.set_random_seed", None),
        ("clearml.Task.init", {"project_name": "p"}),
        ("clearml.Task.init().get_logger",),
        ("clearml.Task.init().connect_configuration", config.to_dict()),
        (f"{logger}.report_scalar", {"title": "loss", "series": "loss", "value": 0.5, "iteration": 7}),
        (f"{logger}.report_scalar", {"title": "lr", "series": "lr", "value": 0.25, "iteration": 8}),
        ("clearml.Task.init().upload_artifact", "a.py", f"{config.work_dir}/a.py"),
        ("clearml.Task.init().close",),
    ]
    backend.add_scalar("lr", 1.0)
    assert calls[9] == ("clearml.Task.init", {"project_name": "p", "reuse_last_task_id": "t1", "continue_last_task": 0})


def test_neptune(spied, config):
    calls = spied("neptune")
    backend = VISBACKENDS.get("NeptuneVisBackend")()
    feed(backend, config)
    (_, first), run = calls[0], "neptune.init_run()"
    assert first["mode"] == "offline"
    assert calls[1] == ("neptune.types.File.from_content", config.pretty_text)
    assert [call[0] for call in calls[2:3]] == [f"{run}[config].upload"]
    assert calls[3:5] == [(f"{run}[loss].append", 0.5, {"step": 7}), (f"{run}[lr].append", 0.25, {"step": 8})]
    assert np.allclose(calls[5][1], 0.2)
    assert (calls[6][0], calls[6][2]) == (f"{run}[images].append", {"name": "cat", "step": 9})
    assert calls[7:] == [(f"{run}.stop",)]
    backend.add_scalar("lr", 1.0)
    assert calls[8] == ("neptune.init_run", first)
    assert len(first["custom_run_id"]) == 32
    VISBACKENDS.get("NeptuneVisBackend")(init_kwargs={"with_id": "A-1"}).open()
    assert calls[-1] == ("neptune.init_run", {"with_id": "A-1"})


@pytest.mark.parametrize("in_dvc", [False, True])
def test_dvclive(spied, config, tmp_path, monkeypatch, in_dvc):
    monkeypatch.chdir(tmp_path)
    if in_dvc:
        (tmp_path / ".dvc").mkdir()
    calls = spied("dvclive")
    folder = tmp_path / "vis"
    (folder / "plots").mkdir(parents=True)
    for name in ("scalars.json", "metrics.json", "plots/own.json"):
        (folder / name).write_text("")
    backend = VISBACKENDS.get("DVCLiveVisBackend")(str(folder), init_kwargs={"report": None})
    feed(backend, config)
    live = "dvclive.Live()"
    settings = {"save_dvc_exp": in_dvc, "cache_images": in_dvc, "dvcyaml": "dvc.yaml" if in_dvc else None}
    image = calls.pop(6)
    assert image[:2] == (f"{live}.log_image", "cat_9.png")
    assert (image[2] == PICTURE).all()
    assert calls[1:] == [
        (f"{live}.log_params", config.to_dict()),
        (f"{live}.step =", 7),
        (f"{live}.log_metric", "loss", 0.5),
        (f"{live}.step =", 8),
        (f"{live}.log_metric", "lr", 0.25),
        *([(f"{live}.log_artifact", str(folder / "scalars.json"))] if in_dvc else []),
        (f"{live}.end",),
    ]
    assert calls[0] == ("dvclive.Live", {**settings, "report": None, "dir": str(folder)})
    backend.add_scalar("lr", 1.0)
    assert calls[-3] == ("dvclive.Live", {**settings, "report": None, "dir": str(folder), "resume": True})


def test_aim(spied, config):
    calls = spied("aim", **{"Run().hash": "h1"})
    backend = VISBACKENDS.get("AimVisBackend")("/runs/digits/vis_data")
    feed(backend, config)
    assert calls[0] == ("aim.Run", {"experiment": "digits_vis_data"})
    assert calls[1:4] == [
        ("aim.Run()[hparams] =", config.to_dict()),
        ("aim.Run().track", {"name": "loss", "value": 0.5, "step": 7}),
        ("aim.Run().track", {"name": "lr", "value": 0.25, "step": 8}),
    ]
    assert [call[0] for call in calls[4:]] == ["aim.Image", "aim.Run().track", "aim.Run().close"]
    assert (calls[5][1]["name"], calls[5][1]["step"]) == ("cat", 9)
    backend.add_scalar("lr", 1.0)
    assert calls[7] == ("aim.Run", {"experiment": "digits_vis_data", "run_hash": "h1"})
    VISBACKENDS.get("AimVisBackend")().open()
    assert len(calls[-1][1]["experiment"]) == len("20250101_120000")


def test_swanlab(spied, config, tmp_path):
    calls = spied("swanlab", **{"init().id": "s1"})
    backend = VISBACKENDS.get("SwanLabVisBackend")(str(tmp_path), {"mode": "offline"})
    feed(backend, config)
    assert calls[0] == ("swanlab.init", {"mode": "offline", "log_dir": str(tmp_path)})
    flat = {"work_dir": config.work_dir, "model.type": "A", "model.sizes": [1, 2], "pipe.0.k": 1}
    assert calls[1:4] == [
        ("swanlab.init().config.update", flat),
        ("swanlab.init().log", {"loss": 0.5}, {"step": 7}),
        ("swanlab.init().log", {"lr": 0.25}, {"step": 8}),
    ]
    assert [call[0] for call in calls[4:]] == ["swanlab.Image", "swanlab.init().log", "swanlab.init().finish"]
    assert calls[5][2] == {"step": 9}
    backend.add_scalar("lr", 1.0)
    assert calls[7][1] == {"mode": "offline", "log_dir": str(tmp_path), "id": "s1", "resume": "allow"}


def test_tensorboard_holds_what_the_lines_hold(config, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    visualizer = Visualizer(
        vis_backends=[{"type": "LocalVisBackend"}, {"type": "TensorboardVisBackend"}], save_dir=str(tmp_path)
    )
    visualizer.add_config(config)
    visualizer.add_scalars({"loss": 0.1, "lr": 1e-3, "epoch": 1}, step=10)
    visualizer.add_scalars({"loss": torch.tensor(0.05), "lr": np.float64(1e-4), "epoch": 1}, step=20)
    visualizer.add_scalars({"val/acc": 0.75, "iter": 20}, step=1)
    visualizer.add_image("cat", PICTURE, step=20)
    visualizer.close()
    visualizer.add_scalar("test/acc", 0.5, step=20)
    visualizer.close()
    assert not visualizer._guards["TensorboardVisBackend"].is_dropped
    events = EventAccumulator(str(tmp_path / "vis_data"))
    events.Reload()
    found = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    wanted = {}
    for line in (tmp_path / "vis_data" / "scalars.json").read_text().splitlines():
        numbers = json.loads(line)
        step = numbers.pop("step")
        for name, value in numbers.items():
            wanted.setdefault(name, []).append((step, float(np.float32(value))))
    assert found == wanted
    assert events.Tags()["images"] == ["cat"]
    assert events.Images("cat")[0].step == 20
    assert config.pretty_text.encode() in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0]
    backend = visualizer.get_backend("TensorboardVisBackend")
    assert type(backend.experiment).__name__ == "SummaryWriter"
    visualizer.close()


def test_a_picture_must_be_of_8_bits(spied, tmp_path):
    calls = spied("swanlab")
    backend = VISBACKENDS.get("SwanLabVisBackend")(str(tmp_path))
    backend.add_image("grey", PICTURE[..., 0])
    assert calls[1][1].shape == (4, 5, 3)
    for writer in (backend, LocalVisBackend(str(tmp_path))):
        with pytest.raises(
            ConfigTypeError, match="a picture must be an array of uint8, 0 to 255, but 'a' is of float64"
        ):
            writer.add_image("a", PICTURE / 255)


def test_a_tracker_of_ones_own(spied, tmp_path):
    spied("mine")

    class Mine(Tracker):
        package = "mine"

    backend = Mine(None)
    with pytest.raises(NotImplementedError, match="Mine must write numbers in log_numbers"):
        backend.add_scalar("loss", 1.0)
    with pytest.raises(NotImplementedError, match="Mine must say in _experiment what it writes to"):
        _ = backend.experiment
    backend.close()


def test_helpers(tmp_path):
    assert [as_number(v) for v in (1, 2.5, np.array([3]), torch.tensor(4.0))] == [1, 2.5, 3, 4.0]
    assert [as_number(v) for v in ("a", None, [1], np.ones(2), torch.ones(2), np.array("a"))] == [None] * 6
    assert as_plain({1: (np.int64(2), tmp_path, None, {"a": torch.tensor([1, 2])})}) == {
        "1": [2, str(tmp_path), None, {"a": [1, 2]}]
    }
    assert flatten({"a": {"b": [1]}, "c": [{"d": 2}, {}]}) == {"a.b": [1], "c.0.d": 2}
    for name in ("b.py", "a.json", ".hidden.py", "c.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "d.py").write_text("")
    names = [[f.name for f in files_with_suffix(tmp_path, (".py", ".json"), deep)] for deep in (False, True)]
    assert names == [["a.json", "b.py"], ["a.json", "b.py", "d.py"]]
    assert [f.name for f in files_with_suffix(tmp_path, ".txt", False)] == ["c.txt"]
