"""What docs/trainer.md shows of the code-first trainer runs."""

import re
import runpy

import pytest
import torch
from docs_pages import programs_of, put_into, text_of
from torch import nn

from trainwright.testing.ranks import run_ranks
from trainwright.trainer import EventStorage, hooks

PAGE = text_of("docs/trainer.md")
PROGRAMS = programs_of("docs/trainer.md")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    return put_into(tmp_path, PROGRAMS, monkeypatch)


def run(folder, program):
    return runpy.run_path(str(folder / program))


def test_the_programs_of_the_page():
    assert list(PROGRAMS) == ["plain.py", "own_hook.py", "in_a_layer.py", "several.py"]


def test_the_program_goes_on_where_it_stopped(folder):
    whole = run(folder, "plain.py")["trainer"]
    assert (whole.iter, whole.finished_iters) == (200, 200)
    assert whole.storage.latest()["total_loss"][0] < 0.5
    work_dir = folder / "work_dirs" / "plain"
    assert sorted(path.name for path in work_dir.glob("*.pth")) == [
        "model_0000099.pth",
        "model_0000149.pth",
        "model_0000199.pth",
        "model_final.pth",
    ]
    work_dir.rename(folder / "whole")
    text = PROGRAMS["plain.py"]
    assert text.count("finished_iters, 200") == 1
    (folder / "plain.py").write_text(text.replace("finished_iters, 200", "finished_iters, 130"), encoding="utf-8")
    assert run(folder, "plain.py")["trainer"].iter == 130
    (folder / "plain.py").write_text(text, encoding="utf-8")
    resumed = run(folder, "plain.py")["trainer"]
    assert (resumed.start_iter, resumed.iter) == (130, 200)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    lines = (work_dir / "metrics.json").read_text().splitlines()
    assert len(lines) >= len((folder / "whole" / "metrics.json").read_text().splitlines())


def test_the_hook_writes_a_norm(folder):
    hook = run(folder, "own_hook.py")["GradientNorm"]()
    text = PROGRAMS["plain.py"].replace("finished_iters, 200", "finished_iters, 2")
    (folder / "plain.py").write_text(text, encoding="utf-8")
    trainer = run(folder, "plain.py")["trainer"]
    trainer.register_hooks([hook, None, hooks.CallbackHook()])
    trainer.train(2, 4)
    norm, at = trainer.storage.latest()["[metric]gradient"]
    assert norm > 0
    assert at == 3


def test_the_layer_speaks_where_somebody_listens(folder):
    layer = run(folder, "in_a_layer.py")["Watched"](2, 3)
    layer(torch.ones(1, 2))
    nn.init.constant_(layer.weight, 1)
    with EventStorage(7) as storage:
        layer(torch.ones(1, 2) * 10)
    assert storage.latest() == {"watched/active": (1.0, 7)}


def as_a_rank(program):
    trainer = runpy.run_path(program)["trainer"]  # whose init_dist takes the group that there is
    return trainer.storage.latest(), trainer.strategy.unwrapped_model.layer.weight.detach()


def test_the_program_for_several_ranks(folder):
    (told, weight), (_, other_weight) = run_ranks(2, as_a_rank, str(folder / "several.py"))
    assert told["total_loss"][0] < 0.01
    assert torch.equal(weight, other_weight)


def test_hooks_in_the_table_exist():
    rows = re.findall(r"^\| (`.*`.*) \| .* \|$", PAGE, re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`(\w+)", row)]
    assert len(names) == 11
    for name in names:
        assert name in hooks.__all__
