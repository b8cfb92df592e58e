"""Has a page run in a folder of its own, by the process that has PyTorch imported already."""

import contextlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from doc_blocks import ROOT, fenced

HERE = Path(__file__).parent
# Pages whose programs, the named blocks, are run by a test of their own, which lists them as PROGRAMS.
OWN_TESTS = {
    "README.md": "test_readme",
    "docs/doors.md": "test_doors",
    "docs/mmcv1.md": "test_mmcv1_page",
    "docs/trainer.md": "test_trainer_page",
}
TIMEOUT_S = 120


@contextlib.contextmanager
def serving():
    """The folder with `trainwright` and `python`, and the variables that let them find their server."""
    place = Path(tempfile.mkdtemp(prefix="docs"))  # a socket has a short path
    programs = place / "bin"
    programs.mkdir()
    text = f"#!{sys.executable} -IS\n{(HERE / 'doc_shim.py').read_text(encoding='utf-8')}"
    for name in ("trainwright", "python", "python3", "page"):
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
    variables = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "DOCS_PYTHON": sys.executable}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTEST_"))}
    path = os.pathsep.join([str(programs), os.path.dirname(sys.executable), environment.get("PATH", "")])
    environment |= {**variables, "PATH": path, "DOCS_SERVER": str(place / "socket")}
    environment.pop("COLUMNS", None)
    server = subprocess.Popen(
        [sys.executable, str(HERE / "doc_server.py"), str(place / "socket")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        cwd=place,
    )
    try:
        assert server.stdout.readline() == b"ready\n"
        yield programs, environment
    finally:
        server.stdin.close()
        server.stdout.close()
        server.wait(timeout=30)
        shutil.rmtree(place)


def claimed_by_own_test(page):
    """The files of a page that a test module of its own runs."""
    if page not in OWN_TESTS:
        return []
    programs = importlib.import_module(OWN_TESTS[page]).PROGRAMS
    return [block.file for block in fenced(page) if block.file and programs.get(block.file) == block.text]


def run_page(page, folder, server):
    """How each of its blocks was tested, by the line at which it begins."""
    programs, environment = server
    for name in ("benchmarks", "configs", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(programs)
    beside = folder.with_name(f"{folder.name}.plan")
    beside.mkdir()
    setup = HERE / "setups" / f"{Path(page).with_suffix('').as_posix().replace('/', '_')}.py"
    plan = {"page": page, "claimed": claimed_by_own_test(page), "setup": str(setup) if setup.exists() else None}
    (beside / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    done = subprocess.run(
        [str(programs / "page"), str(beside / "plan.json")],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout
    return [json.loads(line) for line in (beside / "report.jsonl").read_text(encoding="utf-8").splitlines()]
