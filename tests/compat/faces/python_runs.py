"""What the tests share that need a Python of their own: its imports are what is tested."""

import os
import subprocess
import sys
import textwrap

import pytest


def python(*arguments, code=None, folder=None, status=0, **variables):
    """stdout and stderr of ``python ARGUMENTS``, or of ``python -c CODE ARGUMENTS``, in `folder`."""
    command = [sys.executable, *(["-c", textwrap.dedent(code)] if code is not None else []), *map(str, arguments)]
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TRAINWRIGHT_FACES")}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**kept, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout, done.stderr


def write_package(root, files):
    """Files of a package by their paths in `root`; gives the root as text, for PYTHONPATH."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return str(root)


without_mmcv = pytest.mark.skipif(
    any(os.path.isdir(os.path.join(path, "mmcv")) for path in sys.path), reason="a real mmcv is installed here"
)
