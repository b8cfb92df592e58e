"""Batch norms of one process and of all, both ways."""

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from trainwright.base.errors import ConfigError, MissingExtraError
from trainwright.model import convert_sync_batchnorm, revert_sync_batchnorm
from trainwright.testing.ranks import run_ranks
from trainwright.testing.toys import differences


def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm1d(2, affine=False)))
    model[1](model[0](torch.randn(4, 1, 2, 2)))
    return model


def test_there_and_back():
    model = network()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    weight = model[1].weight
    model[2].eval()
    sync = convert_sync_batchnorm(model)
    assert sync is model
    assert [type(sync[1]), type(sync[2][0])] == [nn.SyncBatchNorm] * 2
    assert sync[1].weight is weight
    assert not sync[2][0].training
    assert sync[1].training
    assert convert_sync_batchnorm(sync)[1] is sync[1]
    back = revert_sync_batchnorm(sync)
    assert not isinstance(back[1], nn.SyncBatchNorm)
    assert back[1].weight is weight
    assert not differences(dict(back.state_dict()), state)
    images = torch.randn(2, 3, 4, 4)
    assert torch.equal(back[1](images), network()[1].train()(images))  # of inputs of any number of dimensions


def test_a_norm_itself_and_one_in_two_places():
    assert isinstance(convert_sync_batchnorm(nn.BatchNorm2d(2)), nn.SyncBatchNorm)
    norm = nn.SyncBatchNorm(2)
    norm.qconfig = "q"
    model = revert_sync_batchnorm(nn.ModuleDict({"a": norm, "b": nn.Sequential(norm), "c": nn.ReLU()}))
    assert model["a"] is model["b"][0]
    assert not isinstance(model["a"], nn.SyncBatchNorm)
    assert model["a"].qconfig == "q"


def _on_a_rank():
    torch.manual_seed(0)
    return [type(m).__name__ for m in convert_sync_batchnorm(nn.Sequential(nn.BatchNorm1d(2)))]


def test_on_ranks():
    assert run_ranks(2, _on_a_rank) == [["SyncBatchNorm"]] * 2


def test_the_norm_of_mmcv(monkeypatch):
    class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
        pass

    with pytest.raises(MissingExtraError, match="implementation='mmcv' needs the package mmcv with its compiled"):
        convert_sync_batchnorm(nn.BatchNorm1d(1), "mmcv")
    ops = ModuleType("mmcv.ops")
    ops.SyncBatchNorm = SyncBatchNorm
    monkeypatch.setitem(sys.modules, "mmcv", ModuleType("mmcv"))
    monkeypatch.setitem(sys.modules, "mmcv.ops", ops)
    norm = convert_sync_batchnorm(nn.BatchNorm1d(1), "mmcv")
    assert type(norm) is SyncBatchNorm
    assert type(revert_sync_batchnorm(norm)).__name__ == "_BatchNormXd"
    with pytest.raises(ConfigError, match="sync_bn should be 'torch' or 'mmcv', got 'mmc'. Did you mean 'mmcv'"):
        convert_sync_batchnorm(nn.BatchNorm1d(1), "mmc")
