"""mmsegmentation trains, tests and is resumed as with MMEngine, from the same seed, to 1e-6."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from client_runs import CONFIGS, ENGINES, needs_clients, run, same_scalars, same_training, scalars, tool

pytestmark = needs_clients
CONFIG = CONFIGS / "pspnet.py"


@pytest.fixture(scope="module")
def trained(made):
    for engine in ENGINES:
        run(engine, tool("mmseg", "train.py"), CONFIG, "--work-dir", f"seg_{engine}", folder=made)
    return made


def test_training_has_the_numbers_of_mmengine(trained):
    ours, theirs = trained / "seg_trainwright", trained / "seg_mmengine"
    assert same_scalars(scalars(ours), scalars(theirs)) >= 50
    assert {"aAcc", "mIoU", "mAcc"} <= set(scalars(ours)[-1])
    for name in ("iter_3.pth", "iter_6.pth"):
        assert same_training(ours / name, theirs / name) > 300


def test_testing_gives_the_same_metrics(trained):
    file = trained / "seg_mmengine" / "iter_6.pth"
    said = [run(engine, tool("mmseg", "test.py"), CONFIG, file, folder=trained) for engine in ENGINES]
    tables = [re.findall(r"\|[^|\n]+\|[^|\n]+\|[^|\n]+\|$|aAcc: \S+ +mIoU: \S+ +mAcc: \S+", one, re.M) for one in said]
    assert tables[0] == tables[1]
    assert len(tables[0]) == 5


def resumed(made: Path, engine: str, config: Path, checkpoint: Path, work_dir: str) -> Path:
    folder = made / work_dir
    folder.mkdir()
    shutil.copy(checkpoint, folder)
    (folder / "last_checkpoint").write_text(str(folder / checkpoint.name), encoding="utf-8")
    run(engine, tool("mmseg", "train.py"), config, "--resume", "--work-dir", work_dir, folder=made)
    return folder


def test_a_resumed_training_ends_as_one_that_is_not_interrupted(trained):
    ours = resumed(trained, "trainwright", CONFIG, trained / "seg_trainwright" / "iter_3.pth", "seg_went_on")
    same_training(ours / "iter_6.pth", trained / "seg_mmengine" / "iter_6.pth")
    assert same_scalars(scalars(ours)[-4:], scalars(trained / "seg_mmengine")[-4:]) >= 27


def test_a_file_of_mmengine_is_resumed_with_its_numbers(trained):
    file, plain = trained / "seg_mmengine" / "iter_3.pth", CONFIGS / "pspnet_plain.py"
    theirs, ours = (resumed(trained, engine, plain, file, f"seg_again_{engine}") for engine in ENGINES)
    assert same_scalars(scalars(ours), scalars(theirs)) >= 27
    same_training(ours / "iter_6.pth", theirs / "iter_6.pth")
