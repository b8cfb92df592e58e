"""mmengine.utils.dl_utils.visualize: the learning rates of a config without its training."""

import pytest
from mme_suite import face_installed

from trainwright.config import Config
from trainwright.testing.toys import toy_config


@pytest.fixture(autouse=True)
def face():
    with face_installed() as module:
        yield module


def test_learning_rates_of_a_config(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    from mmengine.utils.dl_utils.visualize import fake_run
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.chdir(tmp_path)
    cfg = Config(toy_config(tmp_path / "work"))
    cfg.param_scheduler = [{"type": "StepLR", "step_size": 1, "gamma": 0.1, "by_epoch": True}]
    cfg.default_hooks = {"logger": {"type": "LoggerHook", "interval": 1}}
    fake_run(cfg)
    found = EventAccumulator(str(tmp_path / "temp_dir"))
    found.Reload()
    lrs = [round(event.value, 6) for event in found.Scalars("lr")]
    assert lrs == [0.1] * 4 + [0.01] * 4
    assert [event.value for event in found.Scalars("loss")] == [0.0] * 8
