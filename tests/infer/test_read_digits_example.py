"""The example of an inferencer: it says what the model says, of arrays, files and folders."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from trainwright.config import Config
from trainwright.registry import DATASETS, MODELS

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs" / "digits" / "cnn.py")
EXAMPLE = str(ROOT / "examples" / "read_digits.py")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Weights, ten scans of the test set, and what the model says of them."""
    folder = tmp_path_factory.mktemp("digits")
    cfg = Config.fromfile(CONFIG)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    torch.save({"state_dict": model.state_dict()}, folder / "epoch_20.pth")
    scans = DATASETS.build(cfg.test_dataloader.dataset).images[:10]
    with torch.no_grad():
        shares = model(torch.from_numpy(scans)[:, None]).softmax(dim=1)
    for n, scan in enumerate(scans):
        (folder / "scans").mkdir(exist_ok=True)
        np.save(folder / "scans" / f"{n}.npy", scan)
    return str(folder / "epoch_20.pth"), scans, shares


def test_it_says_what_the_model_says(trained):
    weights, scans, shares = trained
    example = runpy.run_path(EXAMPLE)
    reader = example["DigitReader"](CONFIG, weights)
    elements = reader(list(scans), batch_size=4, return_datasamples=True)["predictions"]
    torch.testing.assert_close(torch.stack([element.scores for element in elements]), shares)
    first, second = reader(scans[0], top=2)["predictions"][0]
    assert (first["digit"], round(float(shares[0].max()), 4)) == (int(shares[0].argmax()), first["share"])
    assert second["share"] <= first["share"]
    assert reader(scans[0])["visualization"] is None


def test_the_program_reads_a_folder_and_files(trained, monkeypatch, capsys):
    weights, _, shares = trained
    folder = Path(weights).with_name("scans")
    said = []
    for scans in ([str(folder)], [str(folder / f"{n}.npy") for n in range(10)]):
        monkeypatch.setattr(sys, "argv", [EXAMPLE, CONFIG, weights, *scans])
        runpy.run_path(EXAMPLE, run_name="__main__")
        said.append([line for line in capsys.readouterr().out.splitlines() if not line.startswith("Loads checkpoint")])
    assert said[0] == said[1]
    assert len(said[0]) == 10 * (8 + 2)
    found = [int(line.partition("'digit': ")[2][0]) for line in said[0][8::10]]
    assert found == shares.argmax(dim=1).tolist()
    assert all(len(line) == 16 for line in said[0][:8])
