"""Row 25: no call in the package reads data unsafely. The gate finds each kind, and finds none."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tools"))

import check_source  # noqa: E402

CALLS = (
    "import torch\ntorch.load(x)\n",
    "import torch\ntorch.load(x, weights_only=flag)\n",
    "import pickle\npickle.load(x)\n",
    "import pickle\npickle._Unpickler(x)\n",
    "import yaml\nyaml.load(x)\n",
    "eval(x)\n",
    "import subprocess\nsubprocess.run(x, shell=True)\n",
    "import numpy as np\nnp.load(x)\n",
    "import torch.distributed.checkpoint as dcp\ndcp.load(x)\n",
    "from torch.distributed.checkpoint import FileSystemReader\nFileSystemReader(x)\n",
    "import pandas as pd\npd.read_pickle(x)\n",
    "import torch\ntorch.jit.load(x)\n",
)


def test_there_is_none(capsys):
    assert check_source.main([]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("source", CALLS, ids=lambda source: source.split("\n")[1])
def test_each_kind_is_found(source, tmp_path, capsys):
    (tmp_path / "module.py").write_text(source)
    assert check_source.main([str(tmp_path)]) == 1
    assert "1 forbidden call(s)" in capsys.readouterr().out


def test_the_one_trusted_place_is_named_with_its_reason():
    loads = [place for place, call in check_source.ALLOWED if call == "torch.load"]
    assert loads == ["src/trainwright/checkpoint/trusted.py"]
    assert "trusted=True" in check_source.ALLOWED[loads[0], "torch.load"]


@pytest.mark.parametrize(
    "source", ["import numpy as np\nnp.load(x, allow_pickle=False)\n", "model.load(x, shell=False)\n"]
)
def test_what_is_safe_passes(source, tmp_path):
    (tmp_path / "module.py").write_text(source)
    assert check_source.main([str(tmp_path)]) == 0
