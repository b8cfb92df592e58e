"""mmengine.utils.dl_utils.visualize: the learning rates of a config without its training."""

import json

import pytest
from mme_suite import face_installed

from trainwright.config import Config
from trainwright.registry import VISBACKENDS
from trainwright.testing.toys import toy_config
from trainwright.visualization import LocalVisBackend


@pytest.fixture(autouse=True)
def face():
    with face_installed() as module:
        yield module


def test_learning_rates_of_a_config(tmp_path, monkeypatch):
    from mmengine.utils.dl_utils.visualize import fake_run

    # Writes what TensorBoard's would, as JSON, in the same folder.
    monkeypatch.setitem(VISBACKENDS._module_dict, "TensorboardVisBackend", LocalVisBackend)
    monkeypatch.chdir(tmp_path)
    cfg = Config(toy_config(tmp_path / "work"))
    cfg.param_scheduler = [{"type": "StepLR", "step_size": 1, "gamma": 0.1, "by_epoch": True}]
    cfg.default_hooks = {"logger": {"type": "LoggerHook", "interval": 1}}
    fake_run(cfg)
    (log,) = (tmp_path / "temp_dir").rglob("scalars.json")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["lr"] for line in lines] == pytest.approx([0.1] * 4 + [0.01] * 4)
    assert [line["loss"] for line in lines] == [0.0] * 8
