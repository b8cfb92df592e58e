"""Reading checkpoints by name: downloads of several ranks, and a torch.load that somebody has replaced."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from trainwright.checkpoint.loader import CheckpointLoader, downloaded
from trainwright.testing.ranks import run_ranks

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


def _downloads(folder: str, fails: bool) -> str:
    def load(url: str) -> str:
        if fails:
            raise OSError(f"{url} cannot be reached")
        file = Path(folder, "net.pth")
        is_there = file.exists()
        file.touch()
        return "found" if is_there else "fetched"

    try:
        return str(downloaded(load, "https://x/net.pth"))
    except OSError as error:
        return str(error)


def test_one_rank_downloads_and_the_others_find_it(tmp_path):
    assert run_ranks(2, _downloads, str(tmp_path), False) == ["fetched", "found"]


def test_no_rank_waits_for_a_download_that_failed(tmp_path):
    assert run_ranks(2, _downloads, str(tmp_path), True) == ["https://x/net.pth cannot be reached"] * 2
