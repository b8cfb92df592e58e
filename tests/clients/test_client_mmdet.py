"""mmdetection trains, tests and is resumed as with MMEngine, from the same seed, to 1e-6."""

from __future__ import annotations

import re
import shutil

import pytest
from client_runs import CONFIGS, ENGINES, needs_clients, run, same_scalars, same_training, scalars, tool

pytestmark = needs_clients
CONFIG = CONFIGS / "retinanet.py"


@pytest.fixture(scope="module")
def trained(made):
    for engine in ENGINES:
        run(engine, tool("mmdet", "train.py"), CONFIG, "--work-dir", f"det_{engine}", folder=made)
    return made


def test_training_has_the_numbers_of_mmengine(trained):
    ours, theirs = trained / "det_trainwright", trained / "det_mmengine"
    assert same_scalars(scalars(ours), scalars(theirs)) >= 60
    assert scalars(ours)[-1]["coco/bbox_mAP_50"] > 0
    for name in ("epoch_1.pth", "epoch_2.pth"):
        assert same_training(ours / name, theirs / name) > 300


def test_testing_gives_the_same_metrics(trained):
    file = trained / "det_mmengine" / "epoch_2.pth"
    said = [run(engine, tool("mmdet", "test.py"), CONFIG, file, folder=trained) for engine in ENGINES]
    metrics = [re.findall(r"coco/bbox_mAP\S*: \S+", one) for one in said]
    assert metrics[0] == metrics[1]
    assert len(metrics[0]) == 6


def test_resuming_in_the_middle_has_the_numbers_of_mmengine(trained):
    for engine in ENGINES:
        folder = trained / f"det_again_{engine}"
        folder.mkdir()
        shutil.copy(trained / "det_mmengine" / "epoch_1.pth", folder)
        (folder / "last_checkpoint").write_text(str(folder / "epoch_1.pth"), encoding="utf-8")
        run(engine, tool("mmdet", "train.py"), CONFIG, "--resume", "--work-dir", folder.name, folder=trained)
    ours, theirs = trained / "det_again_trainwright", trained / "det_again_mmengine"
    assert same_scalars(scalars(ours), scalars(theirs)) >= 30
    same_training(ours / "epoch_2.pth", theirs / "epoch_2.pth")
