"""A package made for a test that keeps configs, metafiles and weights as those of OpenMMLab do."""

import contextlib
import importlib
import sys
from unittest import mock

import torch

REGISTER = """
from {engine}.registry import MODELS as ROOT
from {engine}.registry import Registry
from torch import nn

MODELS = Registry("model", parent=ROOT, scope="{name}")
n_calls = 0


class Scale(nn.Module):
    def __init__(self, width=1, data_preprocessor=None, pretrained=None):
        super().__init__()
        self.layer = nn.Linear(width, 1, bias=False)
        self.data_preprocessor = data_preprocessor
        self.pretrained = pretrained

    def test_step(self, data):
        return [float(self.layer(inputs)) for inputs in data]


def register_all_modules(init_default_scope=True):
    global n_calls
    n_calls += 1
    MODELS.register_module(module=Scale, force=True)
"""
BASE = "model = dict(type='Scale', pretrained='elsewhere.pth')\n"
SCALE = "_base_ = '../_base_/scale.py'\nmodel = dict(width=2)\ndata_preprocessor = dict(mean=1)\n"
INDEX = "Import:\n  - configs/scale/metafile.yml\n  - configs/empty/metafile.yml\n"
METAFILE = """
Collections:
  - Name: Scale
Models:
  - Name: No_Config
  - Name: Scale_Two
    Alias: [two, Second]
    Config: configs/scale/scale.py
    Weights: {weights}
  - Name: Scale_One
    Alias: one
    Config: configs/_base_/scale.py
    Weights: [{weights}, other.pth]
  - Name: No_Weights
    Config: configs/scale/bare.py
"""


@contextlib.contextmanager
def made_package(folder, name, engine="trainwright"):
    """Make `name` in the folder, where it can be imported until the end."""
    package = folder / name
    configs = package / ".mim" / "configs"
    weights = folder / "scale.pth"
    torch.save({"state_dict": {"layer.weight": torch.tensor([[2.0, 3.0]])}, "meta": {}}, weights)
    for path, text in {
        package / "__init__.py": "",
        package / "utils.py": REGISTER.format(engine=engine, name=name),
        package / ".mim" / "model-index.yml": INDEX,
        configs / "scale" / "metafile.yml": METAFILE.format(weights=weights),
        configs / "empty" / "metafile.yml": "Collections:\n  - Name: Empty\nModels: []\n",
        configs / "_base_" / "scale.py": BASE,
        configs / "scale" / "scale.py": SCALE,
        configs / "scale" / "bare.py": "_base_ = './scale.py'\n",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    with mock.patch.object(sys, "path", [str(folder), *sys.path]):
        importlib.invalidate_caches()
        models = importlib.import_module(f"{engine}.registry").MODELS
        try:
            yield package
        finally:
            models.children.pop(name, None)
            for module in [module for module in sys.modules if f"{module}.".startswith(f"{name}.")]:
                del sys.modules[module]
