"""Writes corpus/expected.json: what MMEngine makes of every file of the corpus.

    python tests/config/make_expected.py --python .venv-peers/bin/python

MMEngine takes a module of the standard library for one of a stranger when it runs in a virtual environment, and then
does not import it. So each file is read by the interpreter underneath the environment first, with the environment's
packages on its path, and where that fails by the environment's own. What differs between two runs (MMEngine puts random
names into some results) is no result.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from corpus_tools import CORPUS, SITE

EXPECTED = CORPUS / "expected.json"
HERE = Path(__file__).resolve().parent
UNSTABLE = "MMEngine: differs from run to run"
_WHERE = """
import json, os, sys, mmengine
version = "%d.%d" % sys.version_info[:2]
print(json.dumps([sys.base_prefix, version, os.path.dirname(mmengine.__path__[0])]))
"""


def make_expected(python: str) -> dict[str, Any]:
    """The results by path. `python` has MMEngine installed."""
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore", "PYTHONHASHSEED": "0"}
    found = subprocess.run([python, "-c", _WHERE], check=True, capture_output=True, text=True, env=environ).stdout
    prefix, version, packages = json.loads(found.splitlines()[-1])
    base = _interpreter(Path(prefix), version)
    results: dict[str, Any] = _run(base, [packages, str(SITE)], [], environ)
    again = _run(base, [packages, str(SITE)], [], environ)
    for inner, value in again.items():
        if value != results[inner]:
            results[inner] = UNSTABLE
    failed = [inner for inner, value in results.items() if isinstance(value, str) and value != UNSTABLE]
    retried = _run(python, [str(SITE)], failed, environ)
    return results | {inner: value for inner, value in retried.items() if not isinstance(value, str)}


def _interpreter(prefix: Path, version: str) -> str:
    files = [prefix / "bin" / name for name in (f"python{version}", "python3", "python")]
    return str(next(file for file in files if file.exists()))


def _run(python: str, folders: list[str], paths: list[str], environ: dict[str, str]) -> dict[str, Any]:
    command = [python, str(HERE / "corpus_tools.py"), *paths]
    env = {**environ, "PYTHONPATH": os.pathsep.join(folders)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env, cwd=CORPUS)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:2])} failed:\n{done.stderr[-3000:]}")
    results: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return results


def main() -> int:
    """Make and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has mmengine installed")
    results = make_expected(parser.parse_args().python)
    lines = [
        f" {json.dumps(inner)}: {json.dumps(value, ensure_ascii=False)}" for inner, value in sorted(results.items())
    ]
    EXPECTED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    failed = sum(isinstance(value, str) for value in results.values())
    print(f"{len(results)} files, MMEngine reads {len(results) - failed}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
