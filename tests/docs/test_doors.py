"""The same training through three doors, as docs/doors.md shows it: its programs run, and end with the same weights."""

import contextlib
import runpy
import sys

import pytest
import torch
from docs_pages import programs_of, put_into
from torch import nn

from trainwright import BaseModel, Runner
from trainwright.compat.mmcv1 import load_checkpoint
from trainwright.config import Config
from trainwright.config.migration import migrate
from trainwright.trainer import Checkpointer, SimpleTrainer

PROGRAMS = programs_of("docs/doors.md")
DOORS = {
    "with_runner.py": ("epoch_5.pth", "state_dict"),
    "with_trainer.py": ("model_final.pth", "model"),
    "with_mmcv1.py": ("epoch_5.pth", "state_dict"),
}
# What makes each of them end after two of five epochs.
SHORTER = {
    "with_runner.py": ("max_epochs=5", "max_epochs=2"),
    "with_trainer.py": ("finished_iters, 200", "finished_iters, 80"),
    "with_mmcv1.py": ("max_epochs=5", "max_epochs=2"),
}


@contextlib.contextmanager
def as_if_started(program):
    """An MMCV script runs behind the face."""
    if program != "with_mmcv1.py":
        yield
        return
    import trainwright.compat.mmcv1 as face

    face.install()
    try:
        yield
    finally:
        face.uninstall()


@pytest.fixture
def folder(tmp_path, monkeypatch, request):
    monkeypatch.syspath_prepend(tmp_path)
    yield put_into(tmp_path, PROGRAMS, monkeypatch)
    sys.modules.pop("circle", None)


def run(folder, program):
    with as_if_started(program):
        return runpy.run_path(str(folder / program))


def path_of(folder, program):
    return folder / "work_dirs" / program.removesuffix(".py") / DOORS[program][0]


def weights_of(folder, program):
    return torch.load(path_of(folder, program))[DOORS[program][1]]


def test_the_page_has_a_program_for_each_door():
    assert list(PROGRAMS) == ["circle.py", *DOORS, "old.py", "new.py"]


def test_the_old_settings_become_the_new_ones(folder):
    old, new = (Config.fromfile(str(folder / name)).to_dict() for name in ("old.py", "new.py"))
    migration = migrate(old)
    assert migration.tree == new
    assert [note.key for note in migration.notes] == ["default_scope"]


def test_the_three_end_with_the_same_weights(folder):
    ends = {}
    for program in DOORS:
        run(folder, program)
        ends[program] = weights_of(folder, program)
    first, *others = ends.values()
    for other in others:
        assert list(other) == list(first)
        assert all(torch.equal(value, first[name]) for name, value in other.items())
    for program in DOORS:
        for load in (into_a_runner, into_a_trainer, *([load_checkpoint] if program != "with_trainer.py" else [])):
            model = Empty(first)
            load(model, str(path_of(folder, program)))
            assert all(torch.equal(value, first[name]) for name, value in model.state_dict().items()), load


class Empty(BaseModel):
    """A model with weights of the shapes that are given, all zero."""

    def __init__(self, shapes):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))
        self.load_state_dict({name: torch.zeros_like(value) for name, value in shapes.items()})

    def forward(self, *args, **kwargs):
        """It is never called."""


def into_a_runner(model, path):
    Runner(model=model, work_dir="loading", load_from=path, log_level="ERROR").load_or_resume()


def into_a_trainer(model, path):
    Checkpointer(model).load(path, checkpointables=[])


@pytest.mark.parametrize("program", DOORS)
def test_a_program_that_is_started_again_goes_on(folder, program):
    run(folder, program)
    whole = weights_of(folder, program)
    (folder / "work_dirs" / program.removesuffix(".py")).rename(folder / "whole")
    before, after = SHORTER[program]
    assert PROGRAMS[program].count(before) == 1
    (folder / program).write_text(PROGRAMS[program].replace(before, after), encoding="utf-8")
    run(folder, program)
    (folder / program).write_text(PROGRAMS[program], encoding="utf-8")
    ended = run(folder, program)
    assert (ended["trainer"] if "trainer" in ended else ended["runner"]).iter == 200
    resumed = weights_of(folder, program)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    if "trainer" in ended:
        assert isinstance(ended["trainer"], SimpleTrainer)
