"""verify-resume: an exact config passes, and one with a state that no checkpoint has is told of by its place."""

import json
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from trainwright.base.errors import ConfigError, TrainwrightError
from trainwright.cli.app import app
from trainwright.runner.verify_resume import Plan, compare, verify_resume

CONFIG = """
custom_imports = dict(imports=["trainwright.testing.toys"{more}])
model = dict(type="ToyModel", dropout=0.3)
work_dir = "never_made"
train_dataloader = dict(
    dataset=dict(type="ToyDataset", size=24, noise=0.3),
    batch_size=4,
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
)
train_cfg = dict(by_epoch=True, max_epochs=3)
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=0.01))
default_hooks = dict(logger=dict(type="LoggerHook", interval=2))
custom_hooks = [dict(type="EMAHook"){hook}]
"""
FORGETFUL = """
import torch
from trainwright.hooks import Hook
from trainwright.registry import HOOKS

@HOOKS.register_module()
class ForgetfulHook(Hook):
    count = 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.count += 1
        with torch.no_grad():
            runner.model.first.bias += 0.001 * self.count

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        pass
"""


def written(folder: Any, hook: str = "", more: str = "") -> str:
    path = folder / "config.py"
    path.write_text(CONFIG.format(hook=hook, more=more))
    return str(path)


@pytest.mark.conformance  # long
def test_an_exact_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["verify-resume", written(tmp_path), "--iters", "9", "--at", "4"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("9 iterations against 4 + resume + 5: exact. ")
    assert [path.name for path in tmp_path.iterdir()] == ["config.py"]


@pytest.mark.conformance  # long
def test_a_hook_that_forgets(tmp_path, monkeypatch):
    (tmp_path / "forgetful.py").write_text(FORGETFUL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    config = written(tmp_path, ', dict(type="ForgetfulHook")', ', "forgetful"')
    done = CliRunner().invoke(app, ["verify-resume", config, "--iters", "4", "--json"])
    assert done.exit_code == 1, done.output
    (verdict,) = json.loads(done.stdout)
    assert verdict["exact"] is False
    assert verdict["differences"][0] == {"path": "hooks.ForgetfulHook.count", "what": "4 in one go, 2 in parts"}
    assert any(found["path"] == "state_dict.first.bias" for found in verdict["differences"])
    assert verdict["cause"].startswith(
        "this hook counts something that its state_dict() does not say, or does not take"
    )


def test_a_training_that_fails_says_what_it_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = (
        r"training 10 iterations failed with exit code 3:(.|\n)*sample \d+ of dataset ToyDataset could not be read"
    )
    with pytest.raises(TrainwrightError, match=message):
        verify_resume(Plan(written(tmp_path), options=["train_dataloader.dataset.fail_at=5"], workers=1))


@pytest.mark.parametrize("at", [0, 4, 9])
def test_a_stop_outside_the_run(at):
    with pytest.raises(
        ConfigError, match=f"the stop must be after 1 to 3 of 4 iterations, got {at}: set --at or --iter"
    ):
        verify_resume(Plan("any.py", 4, at))


def test_the_likely_origin_comes_first_and_times_are_left_out():
    one = {
        "state_dict": {"w": torch.tensor([1.0, 2.0, float("nan")]), "n": torch.tensor(3)},
        "hooks": {"EarlyStoppingHook": {"wait_count": 2}, "CheckpointHook": {"last_ckpt": "a"}},
        "loader": {"epoch": 0},
        "meta": {"time": "1", "iter": 3, "cfg": "a"},
        "message_hub": {"log_scalars": {"train/time": [1.0], "train/loss": [0.5, 0.25]}},
        "optimizer": {"lr": 0.1},
    }
    same, n = compare(one, one)
    assert (same, n) == ([], 8)
    other = {
        **one,
        "state_dict": {"w": torch.tensor([1.0, 2.5, float("nan")]), "n": torch.tensor(3)},
        "hooks": {"EarlyStoppingHook": {"wait_count": 3}, "CheckpointHook": {"last_ckpt": "b"}},
        "meta": {"time": "2", "iter": 3, "cfg": "b"},
        "message_hub": {"log_scalars": {"train/time": [2.0], "train/loss": [0.5, 0.25, 1.0]}},
        "optimizer": {},
    }
    found, _ = compare(one, other)
    assert list(map(str, found)) == [
        "hooks.EarlyStoppingHook.wait_count: 2 in one go, 3 in parts",
        "message_hub.log_scalars.train/loss: [0.5, 0.25] in one go, [0.5, 0.25, 1.0] in parts",
        "state_dict.w: 1 of 3 numbers differ, by 0.5 at most",
        "optimizer.lr: only in the unbroken run",
    ]
