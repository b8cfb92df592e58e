"""What a runner of MMCV 1.x says about what a model, a config or a checkpoint lacks, or has too much of."""

import json
import operator

import numpy as np
import pytest
import torch
from mmcv1_noisy_runs import loader, made
from torch import nn

from trainwright.base.errors import CheckpointError, ConfigError
from trainwright.compat.mmcv1.runner import EpochBasedRunner, IterBasedRunner, load_checkpoint

BOTH = pytest.mark.parametrize(
    ("kind", "length"), [(EpochBasedRunner, {"max_epochs": 2}), (IterBasedRunner, {"max_iters": 2})]
)

STEPS = [
    ({"log_vars": {"loss": 1.0}}, None, r"train_step.* gives log_vars without num_samples.*: it has log_vars"),
    ({"log_vars": {}, "num_samples": 1}, {}, r"has no 'loss' for the hook that steps, but log_vars, num_samples: "),
    (
        {"log_vars": {}, "num_samples": 1},
        {"type": "GradientCumulativeOptimizerHook"},
        r"has no 'loss' .* leave optimizer_config out",
    ),
]


@BOTH
@pytest.mark.parametrize(("outputs", "optimizer_config", "text"), STEPS)
def test_a_step_that_leaves_something_out(kind, length, outputs, optimizer_config, text):
    runner = made(kind, **length)
    runner.model.train_step = lambda *args, **kwargs: dict(outputs)
    runner.register_optimizer_hook(optimizer_config)
    with pytest.raises(KeyError, match=text) as caught:
        runner.run([loader()], [("train", 1)])
    assert isinstance(caught.value, ConfigError)


@BOTH
@pytest.mark.parametrize("name", ["lr", "momentum"])
def test_a_hook_for_rates_without_an_optimizer(kind, length, name):
    runner = made(kind, **length)
    runner.optimizer = None
    runner.register_lr_hook({"policy": "fixed"}) if name == "lr" else runner.register_momentum_hook(
        {"policy": "step", "step": 1}
    )
    with pytest.raises(AttributeError, match=r"needs an optimizer, and the runner was made without: .*lr_config=None"):
        runner.run([loader()], [("train", 1)])


@pytest.mark.parametrize("config", [{"hooks": []}, {"interval": 1}])
def test_a_log_config_has_two_keys(config):
    with pytest.raises(KeyError, match=r"log_config must have the keys 'interval' and 'hooks', but got \{"):
        made(EpochBasedRunner, max_epochs=1).register_logger_hooks(config)


def test_the_optimizers_of_a_checkpoint_are_those_of_the_runner(tmp_path):
    one, several = made(EpochBasedRunner, max_epochs=1), made(EpochBasedRunner, max_epochs=1)
    several.optimizer = {"gen": several.optimizer}
    one.save_checkpoint(str(tmp_path), "one.pth", create_symlink=False)
    several.save_checkpoint(str(tmp_path), "several.pth", create_symlink=False)
    with pytest.raises(KeyError, match=r"has the state of one optimizer, and this runner has the optimizers gen: "):
        several.resume(str(tmp_path / "one.pth"))
    with pytest.raises(KeyError, match=r"of the optimizers gen, and this runner has one: .*resume_optimizer=False"):
        one.resume(str(tmp_path / "several.pth"))
    one.resume(str(tmp_path / "several.pth"), resume_optimizer=False)


def test_an_array_in_meta_is_a_tensor_and_can_still_be_logged(tmp_path):
    """The text logger writes meta as JSON when a run begins."""
    first = made(EpochBasedRunner, max_epochs=1, work_dir=str(tmp_path))
    first.meta = {"palette": np.arange(4).reshape(2, 2)}
    first.save_checkpoint(str(tmp_path), "of.pth", create_symlink=False)
    second = made(EpochBasedRunner, max_epochs=1, work_dir=str(tmp_path))
    second.resume(str(tmp_path / "of.pth"))
    assert torch.equal(second.meta["palette"], torch.tensor([[0, 1], [2, 3]]))
    second.register_logger_hooks({"interval": 1, "hooks": [{"type": "TextLoggerHook"}]})
    second.call_hook("before_run")
    (log,) = tmp_path.glob("*.json")
    assert json.loads(log.read_text())["palette"] == [[0, 1], [2, 3]]


def test_what_is_refused_can_be_read_by_a_function_of_ones_own(tmp_path):
    path = str(tmp_path / "objects.pth")
    torch.save({"state_dict": {}, "meta": {"sum": operator.add}}, path)
    with pytest.raises(CheckpointError, match="was refused") as caught:
        load_checkpoint(nn.Linear(1, 1), path)
    assert "CheckpointLoader.register_scheme(prefixes='', loader=function, force=True)" in caught.value.__notes__[0]


def test_a_setting_of_the_checkpoint_hook_that_is_none(tmp_path):
    runner = made(EpochBasedRunner, max_epochs=1, work_dir=str(tmp_path))
    runner.register_checkpoint_hook({"intervall": 1})
    with pytest.raises(
        TypeError, match=r"create_symlink, intervall besides .* EpochBasedRunner.save_checkpoint, .*'intervall'"
    ):
        runner.run([loader()], [("train", 1)])
    assert runner.iter == 0
