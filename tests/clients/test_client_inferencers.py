"""Inferencers of real projects say the same through the face as with MMEngine."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NEEDED = ("mmengine", "mmcv", "mmpretrain", "mmseg", "mmdet", "mmpose")


@pytest.mark.client
def test_inferencers_say_the_same(tmp_path):
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: make clients")
    said = []
    for name, start in (("real", []), ("ours", ["-m", "trainwright.compat", "mmengine", "--"])):
        out = tmp_path / f"{name}.json"
        done = subprocess.run(
            [sys.executable, *start, str(HERE / "infer_with.py"), str(out)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(HERE.parents[1] / "src"), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        said.append(json.loads(out.read_text(encoding="utf-8")))
    assert said[0] == said[1]
    assert said[0]["detection"][1] > 10
