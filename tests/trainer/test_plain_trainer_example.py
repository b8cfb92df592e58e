"""The example of the code-first trainer: short, and run twice it ends as if it had not been stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

EXAMPLE = Path(__file__).parents[2] / "examples" / "plain_trainer.py"


def run(folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_it_goes_on_bit_for_bit(tmp_path: Path) -> None:
    log = run(tmp_path / "whole")
    assert "total_loss" in log
    whole = tmp_path / "whole" / "work_dirs" / "plain_trainer"
    names = sorted(path.name for path in whole.glob("*.pth"))
    assert names == [
        "model_0000069.pth",
        "model_0000139.pth",
        "model_0000209.pth",
        "model_0000279.pth",
        "model_final.pth",
    ]

    stopped = tmp_path / "stopped" / "work_dirs" / "plain_trainer"
    stopped.mkdir(parents=True)
    (stopped / "model_0000139.pth").write_bytes((whole / "model_0000139.pth").read_bytes())
    assert "Starting training from iteration 140" in run(tmp_path / "stopped")
    one, other = (torch.load(folder / "model_final.pth", weights_only=True) for folder in (whole, stopped))
    assert all(torch.equal(value, other["model"][name]) for name, value in one["model"].items())
    assert one["iteration"] == other["iteration"] == 299


def test_it_has_thirty_lines() -> None:
    lines = [line for line in EXAMPLE.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(lines) <= 30
