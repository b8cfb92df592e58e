"""``trainwright replay``."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trainwright.checkpoint.step_record import read_record

IMPORTS = ["trainwright.testing.toys", "trainwright.testing.step_recorder", "slow_parts.py"]
ROOT = Path(__file__).parents[2]


def record(command, project, *options, at=5):
    """Train the toy project until a step is recorded."""
    (project / "recording.py").write_text(
        '_base_ = "toy.py"\n'
        f"custom_imports = dict(imports={IMPORTS})\n"
        f'custom_hooks = [dict(type="RecordStepHook", at={at}, folder="{project / "step"}")]\n'
    )
    code, _, err = command("train", "recording.py", *(("--cfg-options", *options) if options else ()))
    assert code == 0, err
    return project / "step"


def files_below(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if "__pycache__" not in path.parts}


def test_a_step_is_reproduced_and_nothing_is_written(command, project, monkeypatch):
    step_dir = record(command, project, "train_cfg.max_epochs=3")
    elsewhere = project.parent / f"{project.name}_elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    before = files_below(project)
    code, out, err = command("replay", step_dir)
    assert code == 0, err
    assert files_below(project) == before
    assert os.listdir(elsewhere) == []
    lines = out.splitlines()
    assert lines[0] == (
        "Iteration 5 (epoch 0, batch 5; all counted from 0), recorded because it was asked for; policy stop."
    )
    assert lines[1].startswith("Taken on cpu with torch ")
    assert lines[1].endswith(", seed 0.")
    loss = read_record(step_dir).losses["loss"]
    assert f"loss       {loss!r}  {loss!r}" in lines
    assert "Reproduced bit for bit." in lines
    assert "Every module's output is finite." in lines
    assert "All gradients are finite." in lines
    assert "Batch (2):" in lines
    assert err == ""


def test_as_json_without_diagnosis(command, project):
    step_dir = record(command, project)
    code, out, err = command("replay", step_dir, "--json", "--no-diagnose")
    assert code == 0, err
    found = json.loads(out)
    assert found["reproduced"] is True
    assert found["differences"] == []
    assert found["diagnosis"] is None
    assert found["losses"] == found["record"]["losses"]
    assert found["losses"]["loss"]["hex"] == read_record(step_dir).losses["loss"].hex()
    assert found["grad_norms"][""]["hex"].startswith("0x1.")
    assert found["record"]["iteration"] == 5


def test_what_differs_is_said_with_exit_code_1(command, project):
    step_dir = record(command, project)
    code, out, _ = command("replay", step_dir, "--cfg-options", "train_dataloader.dataset.noise=0.5", "model.dropout=0")
    assert code == 1
    assert "NOT reproduced:\n  the loader gives another batch than was recorded: batch['inputs']\n  loss was " in out


def test_nan_is_traced(command, project):
    data = ("train_dataloader.dataset.nan_at=3", "train_dataloader.sampler.shuffle=False")
    check = ("default_hooks.runtime_info.type=RuntimeInfoHook", "default_hooks.runtime_info.check_finite=False")
    step_dir = record(command, project, *data, *check, at=1)
    assert "not finite in rows" not in command("replay", step_dir)[1]
    values = json.loads((step_dir / "step.json").read_text())
    values.update(sample_indices=list(range(4, 8)), batch_missing="it was too large")
    (step_dir / "step.json").write_text(json.dumps(values))
    code, out, err = command("replay", step_dir)
    assert code == 0, err
    assert "Samples: 4, 5, 6, 7\nThe batch was not recorded, so it is not compared: it was too large.\n" in out
    assert "Not finite before the step (4):\n  first.weight: float32 (8, 6), 48 NaN of 48\n" in out
    assert "First module whose output is not finite: first (Linear); its inputs are finite\n  output: " in out
    assert "Gradients that are not finite (4):" in out
    code, out, _ = command("replay", step_dir, "--json")
    assert json.loads(out)["diagnosis"]["modules"][0]["name"] == "first"


def test_a_module_that_is_gone_is_asked_for(command, project, monkeypatch):
    step_dir = record(command, project)
    moved = project.parent / f"{project.name}_moved"
    moved.mkdir()
    shutil.move(project / "slow_parts.py", moved / "slow_parts.py")
    sys.modules.pop("slow_parts")
    code, out, err = command("replay", step_dir)
    assert code == 1
    assert "custom_imports names 'slow_parts.py', which cannot be imported" in err
    assert f"The run was started in {project}, with its config in {project}: put the module there again, or" in err
    monkeypatch.chdir(moved)
    code, out, err = command("replay", step_dir)
    assert code == 0, err
    assert "Reproduced bit for bit." in out


def test_no_step_dir(command):
    code, out, err = command("replay", "nowhere")
    assert code == 1
    assert "nowhere' does not exist. It is the folder that the guard names" in err


@pytest.mark.conformance  # long
def test_the_digits_example_from_another_folder(tmp_path):
    """In processes of their own, as a person would."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    (tmp_path / "recording.py").write_text(
        f'_base_ = "{ROOT / "configs" / "digits" / "cnn.py"}"\n'
        'custom_imports = dict(imports=["digits_parts.py", "trainwright.testing.step_recorder"])\n'
        f'custom_hooks = [dict(type="EMAHook"), dict(type="RecordStepHook", at=3, folder="{tmp_path / "step"}")]\n'
    )
    program = [sys.executable, "-m", "trainwright"]
    train = [*program, "train", tmp_path / "recording.py", "--work-dir", tmp_path / "run"]
    subprocess.run(train, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=120)
    before = files_below(tmp_path)
    done = subprocess.run(
        [*program, "replay", "step"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "Reproduced bit for bit." in done.stdout
    assert done.stderr == ""
    assert files_below(tmp_path) == before
