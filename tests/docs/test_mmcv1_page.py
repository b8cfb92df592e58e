"""What docs/mmcv1.md shows of MMCV 1.x's runners runs, and the names in it exist."""

import contextlib
import re
import runpy
import sys

import pytest
import torch
from docs_pages import programs_of, put_into, text_of

import trainwright.compat.mmcv1 as face
from trainwright.compat.mmcv1 import parallel
from trainwright.compat.mmcv1.runner import hooks as runner_hooks

PAGE = text_of("docs/mmcv1.md")
PROGRAMS = programs_of("docs/mmcv1.md")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    return put_into(tmp_path, PROGRAMS, monkeypatch)


@contextlib.contextmanager
def faced():
    face.install()
    try:
        yield
    finally:
        face.uninstall()
        face.HOOKS.module_dict.pop("SayWhere", None)


def test_the_programs_of_the_page():
    assert list(PROGRAMS) == ["faced.py", "by_iterations.py"]


def test_the_face_is_put_on_and_taken_off(folder):
    before = {name for name in sys.modules if name.partition(".")[0] == "mmcv"}
    runpy.run_path(str(folder / "faced.py"))
    assert {name for name in sys.modules if name.partition(".")[0] == "mmcv"} == before


def test_the_program_goes_on_where_it_stopped(folder):
    def run(max_iters):
        text = PROGRAMS["by_iterations.py"].replace("max_iters=200", f"max_iters={max_iters}")
        (folder / "by_iterations.py").write_text(text, encoding="utf-8")
        with faced():
            return runpy.run_path(str(folder / "by_iterations.py"))["runner"]

    def stop_at_130(runner):
        if runner.iter == 130:
            runner.save_checkpoint(runner.work_dir, "iter_{}.pth")
            raise InterruptedError

    whole = run(200)
    assert PROGRAMS["by_iterations.py"].count("max_iters=200") == 1
    assert whole.model.layer.weight.item() == pytest.approx(2, abs=0.01)
    work_dir = folder / "work_dirs" / "by_iterations"
    assert sorted(path.name for path in work_dir.glob("*.pth")) == ["iter_150.pth", "iter_200.pth", "latest.pth"]
    work_dir.rename(folder / "whole")
    hook = face.ClosureHook("after_train_iter", stop_at_130)
    register = face.IterBasedRunner.register_training_hooks

    def register_both(runner, *args, **kwargs):
        register(runner, *args, **kwargs)
        runner.register_hook(hook, priority="VERY_LOW")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(face.IterBasedRunner, "register_training_hooks", register_both)
        with pytest.raises(InterruptedError):
            run(200)
    resumed = run(200)
    assert resumed.iter == 200
    assert (work_dir / "iter_131.pth").exists()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_the_names_of_the_page_exist():
    table = PAGE.partition("## What is there")[2].partition("## Checkpoints")[0]
    suffixes = {"learning rate": "LrUpdaterHook", "momentum": "MomentumUpdaterHook"}
    n_names = 0
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 2 or cells[0] in ("of", "---"):
            continue
        for name in re.findall(r"`(\w+)`", cells[1]):
            if name in ("train", "val", "constant", "linear", "exp"):
                continue
            full = name + suffixes.get(cells[0], "")
            assert any(hasattr(home, full) for home in (face, runner_hooks, parallel)), full
            n_names += 1
    assert n_names == 60
