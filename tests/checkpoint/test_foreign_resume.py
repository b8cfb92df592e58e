"""Training goes on from files of MMEngine and MMCV."""

from pathlib import Path

import numpy as np
import pytest
import torch
from foreign_files import mmcv_tree
from torch import nn
from torch.utils.data import Dataset

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint import read_file
from trainwright.checkpoint.dcp import METADATA
from trainwright.model import BaseModel
from trainwright.runner import Runner

REAL = Path(__file__).parent / "data" / "mmengine_0_10_7.pth"


class Points(Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, index):
        inputs = torch.randn(4, generator=torch.Generator().manual_seed(index))
        return {"inputs": inputs, "labels": int(inputs.sum() > 0)}


class Net(BaseModel):
    """The model of the file: ``bn`` and ``fc``."""

    def __init__(self):
        super().__init__()
        self.bn, self.fc = nn.BatchNorm1d(4), nn.Linear(4, 2)

    def forward(self, inputs, labels, mode="tensor"):
        scores = self.fc(self.bn(inputs))
        return {"loss": nn.functional.cross_entropy(scores, labels)} if mode == "loss" else scores


def runner(work_dir, **changes):
    settings = {
        "model": Net(),
        "work_dir": str(work_dir),
        "train_dataloader": {
            "dataset": Points(),
            "batch_size": 4,
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "collate_fn": {"type": "default_collate"},
        },
        "train_cfg": {"by_epoch": True, "max_epochs": 3},
        "optim_wrapper": {"optimizer": {"type": "Adam", "lr": 0.01}},
        "param_scheduler": {"type": "CosineAnnealingLR", "T_max": 4, "end": 2},
        "custom_hooks": [{"type": "EMAHook"}],
        "log_level": "WARNING",
        **changes,
    }
    return Runner(**settings)


def test_everything_of_mmengine_s_file_is_taken_up(tmp_path):
    saved = read_file(REAL)
    run = runner(tmp_path, load_from=str(REAL), resume=True)
    run.resume(str(REAL))
    assert (run.epoch, run.iter) == (2, 8)
    assert run.seed == 3
    assert run.optim_wrapper.optimizer.param_groups[0]["lr"] == saved["optimizer"]["param_groups"][0]["lr"]
    momentum = run.optim_wrapper.optimizer.state[run.model.fc.weight]["exp_avg"]
    assert torch.equal(momentum, saved["optimizer"]["state"][2]["exp_avg"])
    assert run.param_schedulers[0].last_step == saved["param_schedulers"][0]["last_step"] == 1
    assert torch.equal(run.model.fc.weight, saved["ema_state_dict"]["module.fc.weight"])  # what was trained
    losses = run.message_hub.get_scalar("train/loss").data[0]
    assert losses.tolist() == saved["message_hub"]["log_scalars"]["train/loss"]["values"].tolist()
    run.train()
    assert (run.epoch, run.iter) == (3, 12)
    assert len(run.message_hub.get_scalar("train/loss").data[0]) == 12
    assert torch.load(tmp_path / "epoch_3.pth", weights_only=True)["meta"]["iter"] == 12


def test_mmcv_s_file_is_taken_up_as_far_as_it_goes(tmp_path, capsys):
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    model(**{"inputs": torch.ones(4, 4), "labels": torch.zeros(4, dtype=torch.long)}, mode="loss")["loss"].backward()
    optimizer.step()
    torch.save(mmcv_tree(model.state_dict(), optimizer.state_dict()), tmp_path / "latest.pth")
    run = runner(tmp_path / "run", custom_hooks=None, resume=str(tmp_path / "latest.pth"))
    run.train()
    assert (run.epoch, run.iter) == (3, 12)
    assert "was saved without param_schedulers" in capsys.readouterr().err


def test_a_schedule_that_begins_anew_begins_at_its_beginning(tmp_path):
    """Not at the learning rate of the file: a warm-up would raise that by its whole factor."""
    optimizer = torch.optim.Adam(Net().parameters(), lr=0.01)
    torch.save(mmcv_tree(Net().state_dict(), optimizer.state_dict()), tmp_path / "latest.pth")
    warm_up = {"type": "LinearLR", "start_factor": 0.1, "begin": 0, "end": 3, "by_epoch": False}
    run = runner(tmp_path / "run", custom_hooks=None, param_scheduler=[warm_up, {"type": "StepLR", "step_size": 9}])
    run.resume(str(tmp_path / "latest.pth"))
    (group,) = run.optim_wrapper.optimizer.param_groups
    assert group["lr"] == pytest.approx(0.001)
    run.train()
    assert group["lr"] == pytest.approx(0.01)


def test_weights_of_a_zoo_pickle_are_loaded(tmp_path):
    import pickle

    state = {name: value.numpy() for name, value in Net().state_dict().items()}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"model": state, "__author__": "zoo"}))
    run = runner(tmp_path / "run", load_from=str(tmp_path / "w.pkl"))
    run.load_or_resume()
    assert np.array_equal(run.model.fc.weight.detach().numpy(), state["fc.weight"])


@pytest.mark.parametrize("kind", ["safetensors", "dcp"])
def test_weights_of_other_layouts_are_loaded(tmp_path, kind):
    import warnings

    import torch.distributed.checkpoint as dcp
    from safetensors.torch import save_file

    state = Net().state_dict()
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "step")
    if kind == "safetensors":
        save_file(dict(state), path)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcp.save({"state_dict": state}, checkpoint_id=path)
        assert (path / METADATA).is_file()
    run = runner(tmp_path / "run", load_from=str(path))
    run.load_or_resume()
    assert torch.equal(run.model.fc.weight, state["fc.weight"])
    with pytest.raises(CheckpointError, match="it holds no training state"):
        run.resume(str(path))


class Local:
    """Keeps a file from being read as data."""


def test_trust_is_for_the_file_that_was_named(tmp_path):
    run = runner(tmp_path / "run")
    run.train()
    tree = read_file(tmp_path / "run" / "epoch_3.pth")
    torch.save({**tree, "x": Local()}, tmp_path / "a.pth")
    for settings in ({"load_from": str(tmp_path / "a.pth")}, {"resume": str(tmp_path / "a.pth")}):
        with pytest.raises(CheckpointError, match="trust_checkpoint=True"):
            runner(tmp_path / "two", **settings).load_or_resume()
        runner(tmp_path / "two", trust_checkpoint=True, **settings).load_or_resume()
    (tmp_path / "run" / "epoch_4.pth").write_bytes((tmp_path / "a.pth").read_bytes())
    found = runner(tmp_path / "run", resume=True, trust_checkpoint=True)
    found.load_or_resume()  # of the work_dir itself nothing is trusted: that file is passed over
    assert found.iter == 12
