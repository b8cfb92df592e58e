"""The Python in the documents is written as the rest of the repository's is."""

import subprocess
import sys

import pytest
from doc_blocks import ROOT, fenced, is_config_file, pages

pytest.importorskip("ruff")


def python_blocks(page):
    return [block for block in fenced(page) if block.language == "python"]


def ruff(folder, *arguments):
    (folder / "src").symlink_to(ROOT / "src")  # what is the package itself sorts its imports
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments, "--no-cache", "examples", "configs"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path):
    for name in ("examples", "configs"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_each_block_is_formatted(folder):
    for n, page in enumerate(pages()):
        for block in python_blocks(page):
            path = folder / "examples" / f"{n}_{page.replace('/', '_')}_{block.line}.py"
            path.write_text(block.text, encoding="utf-8")
    ruff(folder, "format", "--check", "--quiet")


def test_ruff_finds_nothing_in_them(folder):
    """Files as they are, and the blocks without a name that go on from each other as one program a page."""
    for n, page in enumerate(pages()):
        program = ""
        for block in python_blocks(page):
            if is_config_file(block.text) and "import" not in block.text:
                (folder / "configs" / f"{n}_{block.line}.py").write_text(block.text, encoding="utf-8")
            elif block.file:
                (folder / "examples" / f"{n}_{block.line}.py").write_text(block.text, encoding="utf-8")
            else:
                program += f"# {block.place}\n{block.text}"
        (folder / "examples" / f"{n}.py").write_text(program, encoding="utf-8")
    # Imports stand where a page first needs them, a last line shows a value, a setup may have made a name, and what is
    # zipped is of one length to see.
    own = "E402,F401,F403,F405,F811,F821,B018,B905,I001"
    ruff(folder, "check", "--quiet", "--extend-ignore", own)
