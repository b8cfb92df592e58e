"""Backends of the visualizer: the files of the local one, and the others on packages that are stood in for."""

import json
import os
import warnings
from unittest import mock

import numpy as np
import pytest
import torch
from mme_suite import packages

pytestmark = pytest.mark.usefixtures("mmengine")

PICTURE = np.zeros((10, 10, 3), np.uint8)
# class: the packages that are stood in for, the attribute that `experiment` is, whether the step goes apart
TRACKERS = {
    "TensorboardVisBackend": (["torch.utils.tensorboard"], "_tensorboard", True),
    "WandbVisBackend": (["wandb"], "_wandb", False),
    "MLflowVisBackend": (["mlflow", "mlflow.entities.run_status"], "_mlflow", True),
    "ClearMLVisBackend": (["clearml"], "_clearml", True),
    "NeptuneVisBackend": (["neptune", "neptune.types"], "_neptune", True),
    "DVCLiveVisBackend": (["dvclive", "pygit2"], "_dvclive", False),
    "AimVisBackend": (["aim"], "_aim_run", False),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "temp_dir").mkdir()


@pytest.fixture
def config():
    from mmengine.config import Config

    return Config({"a": 1, "b": {"b1": [0, 1]}, "work_dir": "temp_dir"})


def test_files_of_the_local_one(config):
    from mmengine.registry import VISBACKENDS
    from mmengine.visualization import LocalVisBackend

    for wrong in ({"config_save_file": "a.txt"}, {"scalar_save_file": "a.yaml"}):
        with pytest.raises(AssertionError):
            LocalVisBackend("temp_dir", **wrong)
    backend = VISBACKENDS.build({"type": "LocalVisBackend", "save_dir": "temp_dir"})
    assert backend.experiment is backend
    backend.add_config(config)
    assert os.path.exists(backend._config_save_file)
    backend.add_graph(torch.nn.Linear(1, 1), [torch.zeros(1)])
    backend.add_image("img", PICTURE)
    backend.add_image("img", PICTURE, step=2)
    assert sorted(os.listdir(backend._img_save_dir)) == ["img_0.png", "img_2.png"]
    assert backend._img_save_dir == os.path.join("temp_dir", "vis_image")
    with pytest.raises(AssertionError):
        backend.add_image("img", PICTURE.astype(float))


def test_numbers_of_the_local_one():
    from mmengine.visualization import LocalVisBackend

    backend = LocalVisBackend("temp_dir")
    backend.add_scalar("map", 0.9)
    backend.add_scalar("map", torch.tensor(1.0), step=1)
    backend.add_scalars({"map": 0.7, "acc": 0.9})
    given = {"map": 0.8}
    backend.add_scalars(given, step=3, file_path="temp.json")
    assert given == {"map": 0.8}
    with open(backend._scalar_save_file) as file:
        lines = file.read().splitlines()
    assert lines[0] == '{"map": 0.9, "step": 0}'
    found = [json.loads(line) for line in lines]
    assert found[1:] == [{"map": 1.0, "step": 1}, {"map": 0.7, "acc": 0.9, "step": 0}, {"map": 0.8, "step": 3}]
    with open(os.path.join("temp_dir", "temp.json")) as file:
        assert json.load(file) == {"map": 0.8, "step": 3}
    for wrong in ("scalars.json", "a.txt"):
        with pytest.raises(AssertionError):
            backend.add_scalars(given, file_path=wrong)
    backend.close()


@pytest.mark.parametrize("name", TRACKERS)
def test_trackers(name, config):
    import mmengine.visualization
    from mmengine.registry import VISBACKENDS

    needed, attribute, step_is_apart = TRACKERS[name]
    where = {} if name == "AimVisBackend" else {"save_dir": "temp_dir"}
    with packages(*needed):
        backend = getattr(mmengine.visualization, name)(**where)
        assert backend.experiment is getattr(backend, attribute)
        backend = VISBACKENDS.build({"type": name, **where})
        backend.add_config(config)
        backend.add_graph(torch.nn.Linear(1, 1), [torch.zeros(1)])
        backend.add_image("img", PICTURE)
        backend.add_image("img", PICTURE, step=2)
        backend.add_scalar("map", 0.9)
        backend.add_scalar("map", torch.tensor(0.95), step=1)
        backend.add_scalars({"map": 0.7, "acc": 0.9})
        backend.add_scalars({"map": 0.7, "acc": 0.9}, step=1)
        if step_is_apart:
            with pytest.raises(AssertionError):
                backend.add_scalars({"map": 0.7, "step": 1})
        backend.close()
        backend = getattr(mmengine.visualization, name)(**where)
        backend._init_env()
        if name != "MLflowVisBackend":  # which asks for the config there
            backend.close()


def test_tensorboard_takes_numbers_of_every_kind():
    from mmengine.visualization import TensorboardVisBackend

    with packages("torch.utils.tensorboard"):
        backend = TensorboardVisBackend("temp_dir")
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for number in (np.array(0.9), np.array(9), np.array([9])[0], torch.tensor(9.0), 1, 1.5):
                backend.add_scalar("map", number, step=1)
        assert seen == []
        assert backend.experiment.add_scalar.call_args.args == ("map", 1.5, 1)
        with pytest.warns(UserWarning, match="list"):
            backend.add_scalar("map", [0.95], step=1)
        assert backend.experiment.add_scalar.call_count == 6


def test_wandb_is_told_of_metrics():
    from mmengine.visualization import WandbVisBackend

    with packages("wandb"):
        metrics = [{"name": "one", "step_metric": "iter"}, {"name": "two", "step_metric": "epoch"}]
        backend = WandbVisBackend("temp_dir", define_metric_cfg=metrics)
        backend._init_env()
        for metric in metrics:
            backend._wandb.define_metric.assert_any_call(**metric)
        backend = WandbVisBackend("temp_dir", define_metric_cfg={"three": "max"})
        backend._init_env()
        backend._wandb.define_metric.assert_any_call("three", summary="max")


def test_mlflow_makes_its_experiment():
    from mmengine.visualization import MLflowVisBackend

    with packages("mlflow") as (mlflow,):
        mlflow.get_experiment_by_name.return_value = None
        MLflowVisBackend("temp_dir", exp_name="test", artifact_location="place")._init_env()
        mlflow.create_experiment.assert_any_call("test", artifact_location="place")


def test_a_method_opens_its_destination():
    from mmengine.visualization.vis_backend import force_init_env

    class Opened:
        _init_env = mock.Mock()

        @force_init_env
        def write(self):
            return "written"

    backend = Opened()
    assert [backend.write(), backend.write()] == ["written"] * 2
    assert backend._init_env.call_count == 1
    with pytest.raises(AttributeError):
        force_init_env(len)([])
