"""mmpretrain trains, tests, is interrupted and resumed as with MMEngine, from the same seed, to 1e-6."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from client_runs import CONFIGS, ENGINES, needs_clients, run, same_scalars, same_training, saved, scalars, tool

pytestmark = needs_clients
CONFIG = CONFIGS / "resnet18.py"


def train(engine: str, made: Path, work_dir: str, *options: object, config: Path = CONFIG, status: int = 0) -> str:
    script = tool("mmpretrain", "train.py")
    return run(engine, script, config, "--work-dir", work_dir, *options, folder=made, status=status)


@pytest.fixture(scope="module")
def trained(made):
    """The folder with a training by each engine in it, uninterrupted."""
    said = {engine: train(engine, made, engine) for engine in ENGINES}
    assert "has the scope" not in said["trainwright"]
    return made


def resumed(trained: Path, engine: str, maker: str) -> Path:
    """A work directory with a second epoch by one engine behind the first by another."""
    folder = trained / f"{maker}_then_{engine}"
    folder.mkdir()
    shutil.copy(trained / maker / "epoch_1.pth", folder)
    (folder / "last_checkpoint").write_text(str(folder / "epoch_1.pth"), encoding="utf-8")
    train(engine, trained, folder.name, "--resume")
    return folder


def test_training_has_the_numbers_of_mmengine(trained):
    ours, theirs = trained / "trainwright", trained / "mmengine"
    assert same_scalars(scalars(ours), scalars(theirs)) >= 40
    assert {"accuracy/top1"} <= set(scalars(ours)[-1])
    for name in ("epoch_1.pth", "epoch_2.pth"):
        assert same_training(ours / name, theirs / name) > 400


def test_testing_gives_the_same_metrics(trained):
    metrics = {}
    for maker in ENGINES:
        for engine in ENGINES:
            script, file = tool("mmpretrain", "test.py"), trained / maker / "epoch_2.pth"
            said = run(engine, script, CONFIG, file, "--work-dir", f"tested_{engine}", folder=trained)
            metrics[maker, engine] = re.findall(r"(accuracy/top1|loss): ([\d.]+)", said)
    assert len(metrics["mmengine", "mmengine"]) == 1
    assert len({str(found) for found in metrics.values()}) == 1


def test_a_file_of_mmengine_is_resumed_with_its_numbers(trained):
    theirs, ours = (resumed(trained, engine, "mmengine") for engine in ENGINES)
    assert same_scalars(scalars(ours), scalars(theirs)) >= 20
    same_training(ours / "epoch_2.pth", theirs / "epoch_2.pth")


def test_a_file_of_ours_is_resumed_in_mmengine_with_its_numbers(trained):
    folder = resumed(trained, "mmengine", "trainwright")
    reference = trained / "mmengine_then_mmengine"
    if not reference.exists():
        resumed(trained, "mmengine", "mmengine")
    same_training(folder / "epoch_2.pth", reference / "epoch_2.pth")
    assert same_scalars(scalars(folder), scalars(reference)) >= 20


def test_a_training_that_is_stopped_within_an_epoch_ends_as_one_that_is_not(trained):
    said = train("trainwright", trained, "stopped", config=CONFIGS / "resnet18_stopped.py", status=1)
    assert "was stopped (SIGTERM) after iteration 6" in said
    folder = trained / "stopped"
    assert not (folder / "epoch_2.pth").exists()
    assert saved(folder / "iter_6.pth")["meta"]["iter"] == 6
    train("trainwright", trained, "stopped", "--resume")
    same_training(folder / "epoch_2.pth", trained / "mmengine" / "epoch_2.pth")
    assert same_scalars(scalars(folder)[-3:], scalars(trained / "mmengine")[-3:]) >= 9
