"""Row 24: MMEngine's real files load, and nothing of them is run."""

import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from trainwright.checkpoint import read_checkpoint

FILE = Path(__file__).parents[1] / "checkpoint" / "data" / "mmengine_0_10_7.pth"


def test_a_real_file_loads_and_torch_alone_refuses_it():
    with pytest.raises(pickle.UnpicklingError):
        torch.load(FILE, weights_only=True)
    tree = read_checkpoint(FILE)
    assert set(tree) == {"meta", "state_dict", "message_hub", "optimizer", "param_schedulers", "ema_state_dict"}


def test_a_bomb_put_into_the_real_file_is_refused(tmp_path):
    fuse = tmp_path / "fuse"
    bomb = b"cposix\nmkdir\nX" + len(str(fuse)).to_bytes(4, "little") + str(fuse).encode() + b"\x85R0"
    with zipfile.ZipFile(FILE) as old, zipfile.ZipFile(tmp_path / "a.pth", "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.endswith("data.pkl"):
                data = data[:-1] + bomb + b"."
            new.writestr(entry.filename, data)
    from trainwright.base.errors import CheckpointError

    with pytest.raises(CheckpointError, match=r"it names posix\.mkdir"):
        read_checkpoint(tmp_path / "a.pth")
    assert not fuse.exists()
