"""Weights from a file, by init_cfg."""

import pytest
import torch
from torch import nn

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint import PretrainedInit
from trainwright.model import BaseModule, Sequential
from trainwright.registry import WEIGHT_INITIALIZERS
from trainwright.testing.toys import differences


class Part(BaseModule):
    def __init__(self, init_cfg=None) -> None:
        super().__init__(init_cfg)
        self.linear = nn.Linear(2, 2)


@pytest.fixture
def file(tmp_path):
    def save(tree):
        torch.save(tree, tmp_path / "weights.pth")
        return str(tmp_path / "weights.pth")

    return save


def test_it_is_found_by_its_name():
    assert WEIGHT_INITIALIZERS.resolve("Pretrained") is PretrainedInit


@pytest.mark.parametrize(
    "wrap", [dict, lambda s: {"state_dict": s}, lambda s: {f"module.{k}": v for k, v in s.items()}]
)
def test_weights_come_last(file, capsys, wrap):
    weights = {"linear.weight": torch.full((2, 2), 5.0), "linear.bias": torch.full((2,), 6.0)}
    cfg = [{"type": "Pretrained", "checkpoint": file(wrap(weights))}, {"type": "Normal", "layer": "Linear"}]
    part = Part(cfg)
    part.init_weights()
    assert not differences(dict(part.state_dict()), weights)
    said = capsys.readouterr().err
    assert "Part gets the pretrained weights in" in said
    assert "linear.weight (2, 2): PretrainedInit: load from" in said


@pytest.mark.parametrize("prefix", ["backbone", "backbone."])
def test_prefix(file, prefix):
    weights = {
        "backbone.linear.weight": torch.ones(2, 2),
        "backbone.linear.bias": torch.ones(2),
        "head.x": torch.ones(1),
    }
    net = Sequential(Part({"type": "Pretrained", "checkpoint": file(weights), "prefix": prefix}))
    net.init_weights()
    assert net[0].linear.weight.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_what_does_not_fit_is_logged(file, capsys):
    weights = {"linear.weight": torch.ones(2, 2), "linear.bias": torch.ones(3)}
    Part({"type": PretrainedInit, "checkpoint": file(weights)}).init_weights()
    assert "of another shape: linear.bias: (3,) in the checkpoint, (2,) in the model" in capsys.readouterr().err


def test_wrong_files(file, tmp_path):
    def load(path, **more):
        Part({"type": "Pretrained", "checkpoint": str(path), **more}).init_weights()

    with pytest.raises(CheckpointError, match=r"none.pth' does not exist in"):
        load(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="holds Python objects besides tensors"):
        load(file({"linear.weight": torch.ones(2, 2), "object": Part}))
    with pytest.raises(
        CheckpointError, match=r"no weight of the checkpoint fits Part: it has names such as 'other'"
    ) as e:
        load(file({"other": torch.ones(2)}))
    assert "while initialising Part by {'type': 'Pretrained'" in "".join(e.value.__notes__)
    with pytest.raises(CheckpointError, match=r"begins with prefix='bakbone.'.*begin with 'backbone'.*mean 'backbone'"):
        load(file({"backbone.linear.weight": torch.ones(2, 2)}), prefix="bakbone")
