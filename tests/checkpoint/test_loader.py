"""Reading checkpoints by name where somebody has put a torch.load of their own in its place, as some packages do."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from trainwright.checkpoint.loader import CheckpointLoader

_ran: list[str] = []


class Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _ran.append, ("code of a file",)


@pytest.fixture
def malicious(tmp_path: Path) -> Iterator[str]:
    torch.save({"state_dict": Runs()}, tmp_path / "net.pth")
    _ran.clear()
    yield str(tmp_path / "net.pth")
    assert _ran == []


def test_one_that_runs_code_unless_told_otherwise_is_told(malicious, monkeypatch):
    read = torch.load

    def runs_by_default(*args, **settings):
        return read(*args, **{"weights_only": False, **settings})

    monkeypatch.setattr(torch, "load", runs_by_default)
    with pytest.raises(pickle.UnpicklingError, match="weights_only"):
        CheckpointLoader.load_checkpoint(malicious)


def test_one_that_cannot_be_told_is_called_as_it_is(malicious, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda file, map_location=None: {"read": file})
    assert CheckpointLoader.load_checkpoint(malicious) == {"read": malicious}
