"""The programs that a page of the documents shows."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def text_of(page):
    """A page by its path in the repository."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page):
    """Its blocks of Python."""
    return re.findall(r"```python\n(.*?)```", text_of(page), re.DOTALL)


def programs_of(page):
    """Its blocks of Python by the names of files in their first lines."""
    return {text.partition("\n")[0].removeprefix("# "): text for text in blocks_of(page)}


def put_into(folder, programs, monkeypatch):
    """Write the programs into a folder, which becomes the current one."""
    monkeypatch.chdir(folder)
    for name, text in programs.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder
