"""What ``last_checkpoint`` says changes nothing: corrupt, dangling, pointing elsewhere, it is a hint and no more."""

import os

import pytest
import torch
from harness import small_config

from trainwright.checkpoint import CheckpointManager, read_checkpoint, write_file
from trainwright.runner import Runner

HINT = "last_checkpoint"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pointer") / "deep" / "run"
    Runner.from_cfg(small_config(folder, max_iters=4)).train()
    # What a pointer must not lead to: more advanced, whole, and of another run.
    foreign = {"meta": {"iter": 10**6, "epoch": 9}, "state_dict": {"w": torch.ones(1)}}
    for other in (folder.parent, folder.parent.parent, folder / "inside"):
        other.mkdir(exist_ok=True)
        write_file(other / "iter_1000000.pth", foreign)
    return folder


TEXTS = {
    "empty": b"",
    "newlines": b"\n\n",
    "binary": bytes(range(256)),
    "zeros": b"\0" * 64,
    "not utf-8": b"\xff\xfe\xfa",
    "up": b"../iter_1000000.pth",
    "up twice": b"../../iter_1000000.pth",
    "up from here": b"{run}/../iter_1000000.pth",
    "up and down": b"{run}/../../deep/iter_1000000.pth",
    "relative": b"iter_1000000.pth",
    "inside": b"inside/iter_1000000.pth",
    "dangling": b"{run}/iter_77.pth",
    "dangling folder": b"/no/such/folder/iter_3.pth",
    "older": b"{run}/iter_2.pth",
    "two lines": b"{run}/iter_2.pth\n{run}/../iter_1000000.pth",
    "dots": b"..",
    "slash": b"/",
    "tilde": b"~/iter_1.pth",
    "url": b"nosuch://bucket/run/iter_1000000.pth",
    "web": b"http://127.0.0.1:9/run/iter_1000000.pth",
    "memory": b"memory://run/iter_1000000.pth",
    "patterns": b"{run}/[*]?_*.pth",
    "long": b"/a" * 100_000,
    "long name": b"/" + b"a" * 5000,
}


@pytest.mark.parametrize("text", list(TEXTS))
def test_the_choice_is_the_same(run, monkeypatch, text):
    monkeypatch.chdir(run.parent)
    (run / HINT).write_bytes(TEXTS[text].replace(b"{run}", str(run).encode()))
    assert CheckpointManager(run).latest() == str(run / "iter_4.pth")


@pytest.mark.parametrize("kind", ["gone", "folder", "loop", "to a folder", "unreadable"])
def test_a_pointer_that_is_no_file(run, kind):
    hint = run / HINT
    hint.unlink()
    if kind == "folder":
        hint.mkdir()
    elif kind == "loop":
        hint.symlink_to(hint)
    elif kind == "to a folder":
        hint.symlink_to(run.parent)
    elif kind == "unreadable":
        os.mkfifo(hint)
    try:
        assert CheckpointManager(run).latest() == str(run / "iter_4.pth")
    finally:
        if hint.is_dir() and not hint.is_symlink():
            hint.rmdir()
        else:
            hint.unlink(missing_ok=True)
        hint.write_text("")


def test_a_resume_goes_on_from_the_right_one_and_mends_the_pointer(tmp_path):
    Runner.from_cfg(small_config(tmp_path / "run", max_iters=3)).train()
    write_file(tmp_path / "iter_9.pth", {"meta": {"iter": 9}, "state_dict": {}})
    (tmp_path / "run" / HINT).write_text("../iter_9.pth")
    Runner.from_cfg(small_config(tmp_path / "run", max_iters=5)).train()
    whole = Runner.from_cfg(small_config(tmp_path / "whole", max_iters=5))
    whole.train()
    weights = [read_checkpoint(tmp_path / name / "iter_5.pth")["state_dict"] for name in ("run", "whole")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1])
    assert (tmp_path / "run" / HINT).read_text() == str(tmp_path / "run" / "iter_5.pth")
