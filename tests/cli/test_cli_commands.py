"""The commands in this process."""

import json
import shlex
import sys

import pytest
import torch

from trainwright.cli.arguments import normalised


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


def scalar_rows(work_dir):
    files = sorted(work_dir.glob("*/vis_data/scalars.json"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("train c.py --cfg-options a=1 b.c=2 --amp", "train c.py --cfg-options a=1 --cfg-options b.c=2 --amp"),
        ("train c.py --resume", "train c.py --resume auto"),
        ("train c.py --resume --amp", "train c.py --resume auto --amp"),
        ("train c.py --resume x.pth --cfg-options a=1", "train c.py --resume x.pth --cfg-options a=1"),
        ("train --cfg-options a=1", "train --cfg-options a=1"),
    ],
)
def test_habits_of_the_field(given, expected):
    assert normalised(given.split()) == expected.split()


def test_train_then_train_on(command, project):
    code, out, err = command("train", "toy.py")
    assert code == 0, err
    folder = project / "work_dirs" / "toy"
    assert "Trained 2 epochs, 16 iterations." in out
    assert f"Last checkpoint: {folder / 'epoch_2.pth'}" in out
    assert "Best accuracy/top1: " in out
    assert f"Curves: {folder / 'curves.png'}" in out
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    words = shlex.split(out.strip().splitlines()[-1])
    assert words == [
        *("trainwright", "train", "toy.py", "--work-dir", "work_dirs/toy", "--resume"),
        *("--cfg-options", "train_cfg.max_epochs=4"),
    ]
    assert out.count("Epoch(train)") == 0
    assert err.count("Epoch(train)") == 8

    code, out, err = command(*words[1:])
    assert code == 0, err
    assert "Trained 4 epochs, 32 iterations." in out
    assert "epoch 2, iteration 16" in err
    assert sorted(p.name for p in folder.glob("epoch*")) == [f"epoch_{n}.pth" for n in (1, 2, 3, 4)]
    assert "train_cfg.max_epochs=8" in out
    assert "max_epochs=4" not in out


def test_options(command, project):
    code, out, err = command(
        *("train", "toy.py", "--work-dir", "here", "--auto-scale-lr"),
        *("--cfg-options", "optim_wrapper.optimizer.lr=0.4", "train_cfg.max_epochs=1", "param_scheduler=None"),
    )
    assert code == 0, err
    assert "they have 4 here: it is multiplied by 0.5" in err
    assert scalar_rows(project / "here")[0]["lr"] == pytest.approx(0.2)
    assert "--auto-scale-lr" in out.splitlines()[-1]
    assert (project / "here" / "toy.py").is_file()


def test_resume_from_a_path(command, project):
    command("train", "toy.py", "--work-dir", "one")
    command("train", "toy.py", "--work-dir", "two", "--cfg-options", "train_cfg.max_epochs=1")
    code, _, err = command("train", "toy.py", "--work-dir", "three", "--resume", "two/epoch_1.pth")
    assert code == 0, err
    one, three = weights("one/epoch_2.pth"), weights("three/epoch_2.pth")
    assert all(torch.equal(one[name], three[name]) for name in one)


def test_amp(command, project):
    code, _, err = command("train", "toy.py", "--amp", "--cfg-options", "train_cfg.max_epochs=1")
    assert code == 0, err
    text = next((project / "work_dirs" / "toy").glob("toy.py")).read_text()
    assert "AmpOptimWrapper" in text
    code, out, err = command("train", "toy.py", "--amp", "--cfg-options", "optim_wrapper.type=Other")
    assert (code, out) == (1, "")
    assert "--amp turns an OptimWrapper into an AmpOptimWrapper" in err


def test_the_test_command(command, project):
    command("train", "toy.py")
    code, out, err = command("test", "toy.py", "work_dirs/toy/epoch_2.pth")
    assert code == 0, err
    metric, value = out.strip().splitlines()[-1].split()
    assert metric == "accuracy/top1"
    assert 0 <= float(value) <= 100
    rows = scalar_rows(project / "work_dirs" / "toy")
    assert float(value) == pytest.approx([row["accuracy/top1"] for row in rows if "accuracy/top1" in row][-1], abs=1e-3)
    code, _, err = command("test", "toy.py", "work_dirs/toy/epoch_9.pth")
    assert code == 1
    assert "epoch_9.pth' does not exist" in err
    (project / "bare.py").write_text(
        "_base_ = 'toy.py'\ntest_cfg = None\ntest_dataloader = None\ntest_evaluator = None\n"
    )
    code, _, err = command("test", "bare.py", "work_dirs/toy/epoch_2.pth")
    assert (code, "has no test part: add test_dataloader" in err) == (1, True)


def test_doctor(command):
    code, out, _ = command("doctor")
    assert code == 0
    for word in ("trainwright", "python", "cores", "memory", "torch", "matplotlib", "mend"):
        assert word in out


def test_help(command):
    code, out, _ = command("train", "--help")
    assert code == 0
    for word in ("--work-dir", "--resume", "--amp", "--auto-scale-lr", "--launcher", "--cfg-options", "CONFIG"):
        assert word in out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["ty.py"], "ty.py"),
        (["toy.py", "--cfg-options", "optim_wraper.lr=1"], "unknown top-level key 'optim_wraper'. Did you mean"),
        (
            ["toy.py", "--cfg-options", "optim_wrapper.optimizer.type=SDG"],
            "SDG is not in the trainwright::optimizer registry",
        ),
        (["toy.py", "--resume", "no.pth"], "no.pth' does not exist"),
        (["toy.py", "--launcher", "slrm"], "launcher 'slrm' is not available"),
        (["toy.py", "--work-dir", "toy.py/x"], "cannot be written: Not a directory"),
        (["toy.py", "--cfg-options", "train_dataloader.dataset.fail_at=3"], "sample 3 of dataset SlowPoints"),
        (["toy.py", "--cfg-options", "train_dataloader.dataset.nan_at=3"], "the loss is not finite at iteration"),
        (
            ["toy.py", "--auto-scale-lr", "--cfg-options", "auto_scale_lr=None"],
            "needs auto_scale_lr=dict(base_batch_size",
        ),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_1(command, project, arguments, text):
    code, out, err = command("train", *arguments)
    assert code == 1
    assert text in err
    assert err.count("error: ") >= 1
    assert "cli/app.py" not in err, "the engine's own traceback is of no use to a user"
    if "dataset" not in text and "finite" not in text:
        assert "Traceback" not in err
        assert not (project / "work_dirs").exists()


def test_the_traceback_on_request(command, monkeypatch):
    monkeypatch.setenv("TRAINWRIGHT_TRACEBACK", "1")
    code, _, err = command("train", "nothing.py")
    assert code == 1
    assert "Traceback" in err


def test_without_matplotlib_a_hint(command, project, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
        monkeypatch.setitem(sys.modules, name, None)
    code, out, err = command("train", "toy.py", "--cfg-options", "train_cfg.max_epochs=1")
    assert code == 0, err
    assert "Curves:" not in out
    assert "no curves were drawn: " in err
    assert "pip install 'trainwright[vis]'" in err
    assert not list(project.glob("**/curves.png"))


def test_an_iteration_based_run_and_runner_type(command, project):
    (project / "by_iter.py").write_text(
        "_base_ = 'toy.py'\nrunner_type = 'Runner'\nparam_scheduler = None\n"
        "train_cfg = dict(_delete_=True, by_epoch=False, max_iters=5, val_interval=5)\n"
    )
    code, out, err = command("train", "by_iter.py")
    assert code == 0, err
    assert "Trained 5 iterations." in out
    assert "raise max_iters and resume" in out
    assert "train_cfg.max_iters=10" in out


def test_the_summary_of_a_loop_of_the_users_names_no_setting_of_ours(tmp_path):
    from trainwright.cli.train import TrainOptions, _summary
    from trainwright.engine.loops import BaseLoop
    from trainwright.runner import Runner
    from trainwright.testing.toys import toy_config

    class OwnLoop(BaseLoop):
        def run(self):
            return self.runner.model

    changes = {"train_cfg": {"type": OwnLoop}, "val_dataloader": None, "val_cfg": None, "val_evaluator": None}
    runner = Runner.from_cfg(toy_config(tmp_path, **changes))
    runner.train()
    *_, hint, command = _summary(runner, TrainOptions("own.py", None, None, False, False, "none", []))
    assert hint == "To train on, resume:"
    assert command.endswith("--resume")


def test_profile_hooks(command, project):
    code, _, err = command("train", "toy.py", "--profile-hooks", "--cfg-options", "train_cfg.max_epochs=1")
    assert code == 0, err
    assert "hook costs in milliseconds of host time" in err
    assert any(line.startswith("CheckpointHook  ") and "after_train_epoch" in line for line in err.splitlines()), err
    code, _, err = command("train", "toy.py", "--cfg-options", "train_cfg.max_epochs=1")
    assert (code, "hook costs" in err) == (0, False)
