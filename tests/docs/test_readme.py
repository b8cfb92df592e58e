"""What the documents show is what is there: their programs run, their names and links exist."""

import importlib
import re
import runpy
import sys

import pytest
from docs_pages import ROOT, blocks_of

from trainwright.config import Config
from trainwright.runner import Runner

README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAM, SMALL, WIDE, _ = blocks_of("README.md")
PROGRAMS = {"small.py": SMALL, "wide.py": WIDE}
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "benchmarks/README.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)


def test_the_program_is_the_example():
    assert (ROOT / "examples" / "code_first.py").read_text(encoding="utf-8") == PROGRAM
    assert PROGRAM.count("\n") <= 40


def test_the_program_trains_and_finds_its_checkpoint_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = str(ROOT / "examples" / "code_first.py")
    first = runpy.run_path(example)["runner"]
    assert (first.epoch, first.iter) == (5, 200)
    assert first.message_hub.get_scalar("val/accuracy/top1").current() > 90
    second = runpy.run_path(example)["runner"]
    assert (second.epoch, second.iter) == (5, 200)
    assert sorted(path.name for path in (tmp_path / "work_dirs" / "code_first").glob("*.pth")) == [
        f"epoch_{n}.pth" for n in range(1, 6)
    ]


@pytest.fixture
def configs(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_the_config_trains(configs):
    cfg = Config.fromfile(str(configs / "small.py"))
    cfg.merge_from_dict({"work_dir": str(configs / "run"), "train_cfg": {"max_epochs": 2}, "randomness": {"seed": 0}})
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.epoch == 2
    assert runner.message_hub.get_scalar("val/accuracy/top1").current() > 30


def test_the_second_config_inherits(configs):
    cfg = Config.fromfile(str(configs / "wide.py"))
    assert cfg.model == {"type": "DigitsCNN", "width": 48}
    assert (cfg.train_dataloader.num_workers, cfg.train_dataloader.batch_size) == (2, 64)


def test_the_error_shown_is_the_error(configs):
    cfg = Config.fromfile(str(configs / "small.py"))
    cfg.merge_from_dict({"work_dir": str(configs / "run"), "model.type": "DigitsCN", "train_dataloader.batch_siz": 32})
    label = "--cfg-options: "
    shown = re.search(rf"\nerror: (the config has 2 problems:)\n{label}(.*)\n{label}(.*)\n\.\.\.\n", README)
    with pytest.raises(ValueError, match="2 problems") as error:
        Runner.from_cfg(cfg)
    first, *lines = str(error.value).splitlines()
    said = [first, *(line.partition(": ")[2] for line in lines if not line.startswith(" "))]
    assert said == list(shown.groups())


def test_the_names_for_those_who_come_from_mmengine_exist():
    rows = re.findall(r"^\| `mmengine\..* \| `(trainwright\.\S+)` \|$", README, re.MULTILINE)
    assert len(rows) == 12
    for row in rows:
        module, _, name = row.rpartition(".")
        assert hasattr(importlib.import_module(module), name), row


def headings_of(text):
    """What a link can lead to behind its #."""
    return {
        re.sub(r"[^\w -]", "", line.lower()).strip().replace(" ", "-") for line in text.splitlines() if line[:1] == "#"
    }


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in target:
            continue
        file, _, heading = target.partition("#")
        there = (ROOT / document).parent / file if file else ROOT / document
        assert there.exists(), target
        assert not heading or heading in headings_of(there.read_text(encoding="utf-8")), target
