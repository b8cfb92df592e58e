"""What lies in the folder of somebody who reads docs/inference.md: a checkpoint of digits, and an installed package."""

import sys
from pathlib import Path

import torch

from trainwright.config import Config
from trainwright.registry import MODELS

cfg = Config.fromfile("configs/digits/cnn.py")
weights = {"state_dict": MODELS.build(cfg.model).state_dict(), "meta": {"cfg": cfg.pretty_text}}
Path("work_dirs/digits").mkdir(parents=True)
torch.save(weights, "work_dirs/digits/epoch_20.pth")
torch.save({"state_dict": {"weight": torch.ones(1, 1), "bias": torch.ones(1)}}, "scale.pth")
for name, text in {
    "__init__.py": (
        "from torch import nn\nfrom trainwright.registry import MODELS\nMODELS.register_module(module=nn.Linear)\n"
    ),
    ".mim/model-index.yml": "Import: [configs/scale/metafile.yml]\n",
    ".mim/configs/scale/metafile.yml": (
        "Models:\n  - {Name: scale, Config: configs/scale/scale.py, Weights: "
        + str(Path("scale.pth").resolve())
        + "}\n"
    ),
    ".mim/configs/scale/scale.py": "model = dict(type='Linear', in_features=1, out_features=1)\n",
}.items():
    path = Path("packages/zoo", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
sys.path.append(str(Path("packages").resolve()))
