"""The Python in the documents is written as the rest of the repository's is."""

import subprocess
import sys
from pathlib import Path

import pytest
from docs_pages import ROOT, blocks_of

pytest.importorskip("ruff")
PAGES = ("README.md", "docs/doors.md", "docs/mmcv1.md", "docs/trainer.md")


def blocks():
    for page in PAGES:
        for text in blocks_of(page):
            yield page, text


@pytest.mark.parametrize("command", [["check", "--quiet"], ["format", "--check", "--quiet"]], ids=["check", "format"])
def test_ruff_has_nothing_to_say(tmp_path, command):
    """As if they lay among the examples, in one run for all."""
    for n, (page, text) in enumerate(blocks()):
        place = tmp_path / (
            "configs" if text.startswith(("# small.py", "# wide.py", "# old.py", "# new.py")) else "examples"
        )
        place.mkdir(exist_ok=True)
        (place / f"{n}_{Path(page).stem}.py").write_text(text, encoding="utf-8")
    assert len(list(tmp_path.glob("*/*.py"))) == 15
    (tmp_path / "src").symlink_to(ROOT / "src")  # what is the package itself sorts its imports
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8"), encoding="utf-8")
    found = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--no-cache", "examples", "configs"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
