"""``plot-schedule`` and ``find-lr``."""

import json
import sys

import pytest
import torch

from trainwright.base.errors import MissingExtraError
from trainwright.cli.find_lr import _summary
from trainwright.cli.plot_schedule import sparkline
from trainwright.runner.lr_finder import LrTest
from trainwright.testing.toys import differences
from trainwright.visualization import plans
from trainwright.visualization.plans import _thinned


def everything(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "__pycache__" not in path.parts}


def test_plot_schedule(command, project):
    code, out, err = command("plot-schedule", "toy.py", "-o", "out/plan.png", "--epoch-length", "4")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "Training of 8 iterations, 2 epochs of 4."
    assert (project / "out" / "plan.png").read_bytes().startswith(b"\x89PNG")
    assert "Picture: out/plan.png" in out
    assert not (project / "work_dirs").exists()


def test_plot_schedule_of_several_groups_and_values(command, project):
    (project / "groups.py").write_text(
        "_base_ = 'toy.py'\n"
        "optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(second=dict(lr_mult=10))))\n"
        "param_scheduler = [\n"
        "    dict(type='CosineAnnealingLR', by_epoch=False),\n"
        "    dict(type='LinearMomentum', by_epoch=False),\n"
        "]\n"
    )
    code, out, err = command("plot-schedule", "groups.py")
    assert (code, err) == (0, "")
    rows = [line for line in out.splitlines() if line.startswith(("lr", "momentum"))]
    assert rows[0].startswith("lr (2 groups, first 0; 56 parameters)")
    assert rows[1].startswith("lr (2 groups, first 2; 27 parameters)")
    assert rows[1].split()[7:9] == ["1", "1"]
    assert len(rows) == 4
    assert (project / "groups_schedule.png").is_file()


def test_plot_schedule_as_json(command, project):
    before = everything(project)
    code, out, _ = command("plot-schedule", "toy.py", "--json", "--cfg-options", "train_cfg.max_epochs=30000")
    assert code == 0
    found = json.loads(out)
    assert (found["unit"], found["n_steps"], found["every"]) == ("epoch", 30000, 3)
    assert found["curves"][0]["name"] == "lr"
    assert len(found["curves"][0]["values"]) == 10000
    assert everything(project) == before


def test_plot_schedule_refuses(command):
    code, _, err = command("plot-schedule", "toy.py", "--epoch-length", "0")
    assert code == 1
    assert "--epoch-length must be at least 1, got 0" in err
    code, _, err = command("plot-schedule", "toy.py", "--cfg-options", "param_scheduler.T_max=0")
    assert code == 1
    assert "toy.py" in err or "--cfg-options" in err
    assert "T_max must be a number of steps above 0, got 0" in err


def test_without_matplotlib(command, monkeypatch):
    def missing(*args):
        raise MissingExtraError("drawing needs the package 'matplotlib', which is not installed.")

    monkeypatch.setattr(plans, "require", missing)
    code, out, _ = command("plot-schedule", "toy.py")
    assert code == 0
    assert "No picture: drawing needs the package 'matplotlib'" in out
    assert command("plot-schedule", "toy.py", "-o", "a.png")[0] == 1
    code, out, _ = command("find-lr", "toy.py", "--iters", "10")
    assert code == 0
    assert "No picture: drawing needs the package 'matplotlib'" in out
    assert command("find-lr", "toy.py", "--iters", "10", "-o", "a.png")[0] == 1


def test_find_lr(command, project):
    before = everything(project)
    code, out, err = command("find-lr", "toy.py", "--start", "1e-4", "--end", "10", "--iters", "40", "-o", "lr.png")
    assert (code, err) == (0, "")
    assert "Suggested learning rate: " in out
    assert "Picture: lr.png" in out
    assert (project / "lr.png").read_bytes().startswith(b"\x89PNG")
    assert everything(project) == before | {"lr.png"}


def test_find_lr_as_json(command, project):
    before = everything(project)
    code, out, _ = command("find-lr", "toy.py", "--start", "1e-4", "--end", "10", "--iters", "40", "--json")
    found = json.loads(out)
    assert code == 0
    assert 1e-4 < found["suggestion"] == found["steepest"] < 10
    assert len(found["rates"]) == len(found["losses"]) == len(found["smoothed"])
    assert found["picture"] is None
    assert everything(project) == before


def test_a_loss_that_never_fell():
    found = LrTest([1e-3, 1e-2], [1.0, 2.0], [1.0, 2.0], None, None, ran_away=True)
    assert _summary(found) == [
        "2 steps, learning rate 1.00e-03 to 1.00e-02 (then the loss ran away).",
        "loss 1  ▅█  2, lowest 1",
        "The loss never fell: no rate to suggest. Try --end higher, or more --iters.",
    ]


def test_a_training_in_the_same_process_is_the_one_without_it(command, project):
    command("train", "toy.py", "--work-dir", "plain")
    command("find-lr", "toy.py", "--iters", "15")
    command("train", "toy.py", "--work-dir", "after")
    one, other = (torch.load(f"{name}/epoch_2.pth", weights_only=True) for name in ("plain", "after"))
    for key in ("state_dict", "optimizer", "rng"):
        assert differences(one[key], other[key]) == []


def test_a_drawing_in_one_row(monkeypatch):
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([2.0] * 3) == "███"
    assert sparkline([0.0, 0.0]) == "▁▁"
    assert len(sparkline(range(1000))) == 48

    class Ascii:
        encoding = "ascii"

    monkeypatch.setattr(sys, "stdout", Ascii())
    assert sparkline([0.0, 0.5, 1.0]) == "_+@"


@pytest.mark.parametrize("jump", [5000, 12345])
def test_a_long_curve_is_thinned_but_keeps_its_jumps(jump):
    values = [1.0] * jump + [0.1] * (100_000 - jump)
    kept = _thinned(values)
    assert len(kept) < 4100
    assert {0, jump - 1, jump, 99_999} <= set(kept)
