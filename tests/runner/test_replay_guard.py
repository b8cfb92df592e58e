"""Bad steps that the guard recorded, taken again."""

import json
import math
import sys

import pytest
import torch
from torch.nn import functional as F

from trainwright.base.errors import LossSpikeError, NonFiniteLossError
from trainwright.checkpoint.step_record import read_record
from trainwright.cli.app import run
from trainwright.hooks import LossGuardHook
from trainwright.optim import OptimWrapper
from trainwright.registry import MODELS
from trainwright.runner import Runner, replay_config, replay_step
from trainwright.testing.toys import ToyDataset, ToyModel, toy_config, toy_loader


@MODELS.register_module()
class FailingToy(ToyModel):
    """Spoils the gradient of one weight, or multiplies the loss by 1,000, in the step ``bad_at``."""

    def __init__(self, bad_at, how, **kwargs):
        super().__init__(**kwargs)
        self.bad_at, self.how = bad_at, how
        self.register_buffer("n_calls", torch.zeros((), dtype=torch.long))

    def forward(self, inputs, label=None, mode="tensor"):
        if mode != "loss":
            return super().forward(inputs, label, mode)
        is_bad = int(self.n_calls) == self.bad_at
        self.n_calls += 1
        loss = F.cross_entropy(super().forward(inputs), label)
        if is_bad and self.how == "gradient":  # 0, with a slope of 0 * inf
            loss = loss + (self.second.bias - self.second.bias.detach()).square().sum().sqrt()
        return {"loss": loss * 1000 if is_bad and self.how == "spike" else loss}


def wrapper(**settings):
    return {"optimizer": {"type": "AdamW", "lr": 0.01}, **settings}


FP16 = {"type": "AmpOptimWrapper", "dtype": "float16", "loss_scale": {"init_scale": 2.0**8}}
NAN_DATA = {"train_dataloader": toy_loader(24, noise=0.3, nan_at=17)}
GRADIENT = {"model": {"type": "FailingToy", "bad_at": 4, "how": "gradient", "dropout": 0.3}}
CASES = {
    "loss": NAN_DATA,
    "loss_with_workers": {"train_dataloader": toy_loader(24, noise=0.3, nan_at=17, num_workers=1)},
    "loss_fp16_scaler": {**NAN_DATA, "optim_wrapper": wrapper(**FP16)},
    "loss_fp16_scaler_clipped": {**NAN_DATA, "optim_wrapper": wrapper(**FP16, clip_grad={"max_norm": 1.0})},
    "loss_bf16": {**NAN_DATA, "optim_wrapper": wrapper(type="AmpOptimWrapper", dtype="bfloat16")},
    "loss_in_a_window": {**NAN_DATA, "optim_wrapper": wrapper(accumulative_counts=4)},
    "loss_clipped": {**NAN_DATA, "optim_wrapper": wrapper(clip_grad={"max_norm": 0.1})},
    "gradient": GRADIENT,
    "gradient_clipped": {**GRADIENT, "optim_wrapper": wrapper(clip_grad={"max_norm": 0.1})},
    "by_iterations": {**GRADIENT, "train_cfg": {"by_epoch": False, "max_iters": 12, "val_interval": 3}},
    "first_step": {"model": {"type": "FailingToy", "bad_at": 0, "how": "gradient"}},
    "second_epoch": {"model": {"type": "FailingToy", "bad_at": 6, "how": "gradient", "dropout": 0.3}},
    "other_hooks": {**GRADIENT, "custom_hooks": [{"type": "EMAHook"}, {"type": "GradNormHook"}]},
}


def guarded(folder, policy="stop", **changes):
    """A training that the guard watches; the error that ended it, and the folders of the bad steps."""
    changes = {"model": {"type": "ToyModel", "dropout": 0.3}, "train_dataloader": toy_loader(24, noise=0.3), **changes}
    settings = changes.pop("guard", {})
    config = toy_config(folder / "run", **changes)
    guard = {"type": "LossGuardHook", "policy": policy, **settings}
    config["custom_hooks"] = [*config.get("custom_hooks", []), guard]
    config["log_level"] = "ERROR"
    error = None
    try:
        Runner.from_cfg(config).train()
    except (NonFiniteLossError, LossSpikeError) as caught:
        error = caught
    return error, sorted((folder / "run" / "bad_steps").iterdir())


def files_below(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("name", CASES)
def test_a_step_that_stopped_a_training_is_reproduced(tmp_path, name):
    error, folders = guarded(tmp_path, **CASES[name])
    assert isinstance(error, NonFiniteLossError)
    assert len(folders) == 1
    assert f"trainwright replay {folders[0]}" in str(error)
    record, before = read_record(folders[0]), files_below(tmp_path)
    assert folders[0].name == f"iter_{record.iteration}"
    assert record.losses
    replay = replay_config(folders[0])
    assert replay.differences == []
    assert replay.notes == []
    assert replay.diagnosis.weights == []
    assert replay.diagnosis.gradients
    assert files_below(tmp_path) == before
    if "gradient" in CASES[name].get("model", {}).values():
        assert not replay.diagnosis.modules
        assert record.iteration == CASES[name]["model"]["bad_at"]
        assert math.isnan(record.grad_norms[""])
        assert math.isfinite(record.losses["loss"])
        assert "second.bias" in [each.name for each in replay.diagnosis.gradients]
    else:
        assert math.isnan(record.losses["loss"])
        assert [record.sample_indices[row] for row in replay.diagnosis.bad_rows] == [17]
        assert sum(each.n_nan for each in replay.diagnosis.batch) == 6


def test_a_spike_is_reproduced(tmp_path):
    error, folders = guarded(
        tmp_path,
        model={"type": "FailingToy", "bad_at": 33, "how": "spike", "dropout": 0.3},
        train_cfg={"by_epoch": True, "max_epochs": 8},
        guard={"spike_sigma": 10.0},
    )
    assert isinstance(error, LossSpikeError)
    replay = replay_config(folders[0])
    assert replay.record.iteration == 33
    assert replay.record.reason.startswith("spike: loss is ")
    assert replay.differences == []
    assert not replay.diagnosis.modules
    assert not replay.diagnosis.gradients


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_every_step_that_was_left_out_is_reproduced(tmp_path, policy):
    error, folders = guarded(tmp_path, policy=policy, **NAN_DATA)
    assert error is None
    assert len(folders) == 2  # one in each epoch
    for folder in folders:
        replay = replay_config(folder)
        assert replay.record.policy == policy
        assert replay.differences == []
        assert 17 in replay.record.sample_indices


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_loader_of_torchs_own_is_replayed_from_code(tmp_path, shuffle):
    def runner(name, *hooks):
        torch.manual_seed(3)
        model = FailingToy(bad_at=4, how="gradient", dropout=0.3)
        return Runner(
            model=model,
            work_dir=str(tmp_path / name),
            train_dataloader=torch.utils.data.DataLoader(ToyDataset(24, noise=0.3), batch_size=4, shuffle=shuffle),
            train_cfg={"by_epoch": True, "max_epochs": 2},
            optim_wrapper=OptimWrapper(torch.optim.Adam(model.parameters(), lr=0.01)),
            custom_hooks=list(hooks),
            randomness={"seed": 4},
            log_level="ERROR",
        )

    with pytest.raises(NonFiniteLossError) as caught:
        runner("run", LossGuardHook()).train()
    step_dir = tmp_path / "run" / "bad_steps" / "iter_4"
    assert str(step_dir) in str(caught.value)
    replay = replay_step(runner("again", LossGuardHook()), step_dir)
    assert replay.differences == []
    assert replay.notes == []


def test_the_command_of_the_message_works(tmp_path, monkeypatch, capsys):
    error, folders = guarded(tmp_path, **NAN_DATA)
    words = str(error).partition("trainwright replay ")[2].split()
    monkeypatch.setattr(sys, "argv", ["trainwright", "replay", words[0], "--json"])
    with pytest.raises(SystemExit) as ended:
        run()
    assert not ended.value.code
    found = json.loads(capsys.readouterr().out)
    assert found["reproduced"] is True
    assert found["record"]["reason"] == "loss is nan"
    assert words[0] == str(folders[0])
    monkeypatch.setattr(sys, "argv", ["trainwright", "replay", words[0]])
    with pytest.raises(SystemExit):
        run()
    row = read_record(folders[0]).sample_indices.index(17)
    assert f"  not finite in rows {row} of the batch: samples 17\n" in capsys.readouterr().out
