"""The MMCV programs of the documents do on this engine what they do on MMCV 1.7.2."""

import re
import runpy
import sys
import warnings
from pathlib import Path

import pytest
import torch
from mmcv1_suite import face_installed, peer_installed

DOCS = Path(__file__).resolve().parents[3] / "docs"


def blocks(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return {block.partition("\n")[0].removeprefix("# "): block for block in found}


@pytest.mark.mmcv1
@pytest.mark.parametrize(
    ("page", "program", "last"),
    [("doors.md", "with_mmcv1.py", "epoch_5.pth"), ("mmcv1.md", "by_iterations.py", "iter_200.pth")],
)
def test_a_program_of_the_documents(tmp_path, monkeypatch, page, program, last):
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in blocks(page).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    ends = []
    for engine in (peer_installed, face_installed):
        (tmp_path / engine.__name__).mkdir()
        monkeypatch.chdir(tmp_path / engine.__name__)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MMCV's own
            with engine() as mmcv:
                runpy.run_path(str(tmp_path / program))
                mmcv.runner.HOOKS.module_dict.pop("SayWhere", None)
        sys.modules.pop("circle", None)
        ends.append(torch.load(Path("work_dirs", program.removesuffix(".py"), last)))
    theirs, ours = ends
    assert theirs["meta"]["iter"] == ours["meta"]["iter"]
    assert set(theirs) == set(ours) - {"trainwright"}
    assert all(torch.equal(value, ours["state_dict"][name]) for name, value in theirs["state_dict"].items())
