"""Checkpoints beside MMEngine's: each engine goes on from the other's file, and ends with the weights that one alone
would have."""

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from trainwright.checkpoint import read_checkpoint
from trainwright.model import BaseModel
from trainwright.runner import Runner
from trainwright.testing.toys import differences

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]  # MMEngine's own warnings
mmengine_runner = pytest.importorskip("mmengine.runner")
mmengine_model = pytest.importorskip("mmengine.model")
mmengine_logging = pytest.importorskip("mmengine.logging")


class Points(Dataset):
    """Sixteen points on either side of a plane."""

    metainfo = {"classes": ("a", "b")}

    def __len__(self):
        return 16

    def __getitem__(self, index):
        inputs = torch.randn(4, generator=torch.Generator().manual_seed(index))
        return {"inputs": inputs, "labels": int(inputs.sum() > 0)}


class Layers:
    """The same model for both engines."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.norm, self.head = nn.BatchNorm1d(4), nn.Linear(4, 2)

    def forward(self, inputs, labels, mode="tensor"):
        scores = self.head(self.norm(inputs))
        return {"loss": nn.functional.cross_entropy(scores, labels)} if mode == "loss" else scores


class Ours(Layers, BaseModel):
    pass


class Theirs(Layers, mmengine_model.BaseModel):
    pass


def trained(engine, work_dir, epochs, **changes):
    """A runner of ``engine`` after ``epochs``; the order of the data is the same in both."""
    runner = engine(
        model=(Ours if engine is Runner else Theirs)(),
        work_dir=str(work_dir),
        train_dataloader={
            "dataset": Points(),
            "batch_size": 4,
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "collate_fn": {"type": "default_collate"},
        },
        train_cfg={"by_epoch": True, "max_epochs": epochs},
        optim_wrapper={"type": "OptimWrapper", "optimizer": {"type": "Adam", "lr": 0.01}},
        param_scheduler=[
            {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 6},
            {"type": "CosineAnnealingLR", "T_max": 4, "by_epoch": True},
        ],
        custom_hooks=[{"type": "EMAHook", "momentum": 0.1}],
        randomness={"seed": 3},
        **{"default_hooks": {"logger": {"type": "LoggerHook", "interval": 1}}, "log_level": "ERROR", **changes},
    )
    runner.train()
    return runner


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Both engines for four epochs, with a checkpoint of each."""
    folder = tmp_path_factory.mktemp("runs")
    names = {"ours": Runner, "theirs": mmengine_runner.Runner}
    for name, engine in names.items():
        trained(engine, folder / name, 4)
    return folder


def part(path, *names):
    tree = read_checkpoint(path)
    found = {name: tree[name] for name in names}
    for state in found.values():
        if "module" in next(iter(state)):  # the number of updates is called differently
            state.pop("steps", None)
    return found


PARTS = ("state_dict", "ema_state_dict", "optimizer")


def test_both_alone_end_the_same(runs):
    ours, theirs = (part(runs / name / "epoch_4.pth", *PARTS) for name in ("ours", "theirs"))
    assert differences(ours["state_dict"], theirs["state_dict"]) == []


def test_our_file_has_their_keys(runs):
    ours, theirs = (read_checkpoint(runs / name / "epoch_2.pth") for name in ("ours", "theirs"))
    assert set(theirs) <= set(ours)
    assert set(theirs["meta"]) - {"mmengine_version"} <= set(ours["meta"])
    assert list(theirs["state_dict"]) == list(ours["state_dict"])
    assert set(theirs["optimizer"]) <= set(ours["optimizer"])


def test_we_resume_their_file_and_end_as_they_do(runs, tmp_path):
    path = runs / "theirs" / "epoch_2.pth"
    ours = trained(Runner, tmp_path, 4, load_from=str(path), resume=True)
    assert (ours.epoch, ours.iter) == (4, 16)
    loss = ours.message_hub.get_scalar("train/loss").data[0]
    theirs = read_checkpoint(runs / "theirs" / "epoch_4.pth")
    assert len(loss) == 16
    assert loss == pytest.approx(theirs["message_hub"]["log_scalars"]["train/loss"]["values"].numpy(), rel=1e-6)
    mine, whole = (part(file, *PARTS) for file in (tmp_path / "epoch_4.pth", runs / "theirs" / "epoch_4.pth"))
    assert differences(mine["state_dict"], whole["state_dict"]) == []
    assert differences(dict(mine["ema_state_dict"]), dict(whole["ema_state_dict"])) == []
    assert differences(mine["optimizer"]["state"], whole["optimizer"]["state"]) == []


def test_the_newest_of_their_files_in_the_work_dir_is_found(runs, tmp_path):
    (tmp_path / "epoch_2.pth").write_bytes((runs / "theirs" / "epoch_2.pth").read_bytes())
    ours = trained(Runner, tmp_path, 3, resume=True)
    assert (ours.epoch, ours.iter) == (3, 12)


def test_they_load_our_file(runs):
    model = Theirs()
    with torch.no_grad():
        model.head.weight.zero_()
    mmengine_runner.load_checkpoint(model, str(runs / "ours" / "epoch_2.pth"), strict=True)
    state = read_checkpoint(runs / "ours" / "epoch_2.pth")["state_dict"]
    assert differences(dict(model.state_dict()), dict(state)) == []


def test_they_resume_our_file_and_end_as_we_do(runs, tmp_path):
    path = runs / "ours" / "epoch_2.pth"
    theirs = trained(mmengine_runner.Runner, tmp_path, 4, load_from=str(path), resume=True)
    assert (theirs.epoch, theirs.iter) == (4, 16)
    mine, whole = (part(file, *PARTS) for file in (tmp_path / "epoch_4.pth", runs / "ours" / "epoch_4.pth"))
    assert differences(mine["state_dict"], whole["state_dict"]) == []
    assert differences(mine["optimizer"]["state"], whole["optimizer"]["state"]) == []


def test_their_own_resume_is_what_breaks(runs, tmp_path):
    """With this torch MMEngine cannot read its own file; what we make of it, it can."""
    import pickle

    path = runs / "theirs" / "epoch_2.pth"
    with pytest.raises(pickle.UnpicklingError):
        trained(mmengine_runner.Runner, tmp_path / "a", 4, load_from=str(path), resume=True)
    from trainwright.checkpoint import write_file

    write_file(tmp_path / "safe.pth", read_checkpoint(path))
    trained(mmengine_runner.Runner, tmp_path / "b", 4, load_from=str(tmp_path / "safe.pth"), resume=True)
    mine, whole = (part(file, "state_dict") for file in (tmp_path / "b/epoch_4.pth", runs / "theirs/epoch_4.pth"))
    assert differences(mine, whole) == []
