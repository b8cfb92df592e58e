"""Files that a config names and that are not there."""

import pytest
import torch

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint import write_file
from trainwright.model import BaseModule
from trainwright.registry import DATASETS, MODELS, WEIGHT_INITIALIZERS
from trainwright.runner import Runner
from trainwright.testing.toys import ToyDataset, toy_config, toy_loader


class Files(ToyDataset):
    def __init__(self, data_root="", ann_file="", data_prefix=None, backend_args=None, dataset=None, **kwargs):
        raise AssertionError("no instance is made")


class Net(BaseModule):
    def __init__(self, backbone=None, init_cfg=None):
        raise AssertionError("no instance is made")


class Pretrained:
    def __init__(self, checkpoint: str, prefix: str | None = None):
        raise AssertionError("no instance is made")


@pytest.fixture(autouse=True)
def parts(monkeypatch):
    monkeypatch.setitem(DATASETS.module_dict, "Files", Files)
    monkeypatch.setitem(MODELS.module_dict, "Net", Net)
    monkeypatch.setitem(WEIGHT_INITIALIZERS.module_dict, "Pretrained", Pretrained)


@pytest.mark.parametrize("name", ["load_from", "resume"])
def test_checkpoints(found, tmp_path, name):
    write_file(tmp_path / "epoch_1.pth", {"state_dict": {"a": torch.zeros(1)}})
    (tmp_path / "empty.pth").write_bytes(b"")
    assert found(**{name: "epoch_1.pth"}) == []
    assert found(**{name: tmp_path / "epoch_1.pth"}) == []
    ((level, text),) = found(**{name: "epoch_2.pth"})
    assert level == "error"
    assert text == f"{name}: checkpoint 'epoch_2.pth' does not exist in '.'. Did you mean 'epoch_1.pth'?"
    ((_, text),) = found(**{name: "empty.pth"})
    assert text.startswith(f"{name}: checkpoint 'empty.pth' is empty")


def test_a_checkpoint_that_is_missing_keeps_its_type(tmp_path):
    with pytest.raises(CheckpointError, match="^load_from: checkpoint 'x.pth' does not exist"):
        Runner.from_cfg(toy_config(tmp_path / "run", load_from="x.pth"))


@pytest.mark.parametrize("word", ["tru", "True", "Fals"])
def test_a_word_for_true_is_no_checkpoint(found, word):
    ((_, text),) = found(resume=word)
    assert text.endswith("To resume from the latest checkpoint of work_dir write resume=True, without quotes.")


def test_other_machines_are_asked_by_the_runner_only(found, tmp_path):
    url = "memory://no/such.pth"
    assert found(load_from=url) == []
    with pytest.raises(CheckpointError, match="load_from: checkpoint 'memory://no/such.pth' does not exist"):
        Runner.from_cfg(toy_config(tmp_path / "run", load_from=url))


def test_pretrained_weights(found, tmp_path):
    (tmp_path / "resnet.pth").write_bytes(b"x")

    def init(path):
        return {"type": "Pretrained", "checkpoint": path}

    for path in ("resnet.pth", str(tmp_path / "resnet.pth"), "https://x.y/z.pth", "torchvision://resnet50", "s3://a/b"):
        assert found(model={"type": "Net", "init_cfg": init(path)}) == []
    model = {
        "type": "Net",
        "init_cfg": [init("resnt.pth")],
        "backbone": {"type": "Net", "init_cfg": {"type": Pretrained, "checkpoint": "no/where.pth"}},
    }
    assert found(model=model) == [
        (
            "error",
            "model.init_cfg.0.checkpoint: checkpoint 'resnt.pth' does not exist in '.'. Did you mean 'resnet.pth'?",
        ),
        (
            "error",
            "model.backbone.init_cfg.checkpoint: checkpoint 'no/where.pth' does not exist: its folder 'no' is missing.",
        ),
    ]
    with pytest.raises(CheckpointError, match="^model.init_cfg.checkpoint: checkpoint 'no.pth' does not exist"):
        Runner.from_cfg(toy_config("run", model={"type": "Net", "init_cfg": init("no.pth")}))


def data(**settings):
    return {"train_dataloader": toy_loader() | {"dataset": {"type": "Files", **settings}}}


def test_data_that_is_not_there_is_a_warning(found, tmp_path):
    (tmp_path / "data" / "train").mkdir(parents=True)
    (tmp_path / "data" / "train.json").write_text("[]")
    right = {"data_root": "data", "ann_file": "train.json", "data_prefix": {"img": "train"}}
    assert found(**data(**right)) == []
    assert found(**data(ann_file=str(tmp_path / "data" / "train.json"), data_prefix="data/train")) == []
    where = "train_dataloader.dataset"
    assert found(**data(**right | {"ann_file": "trai.json", "data_prefix": {"img": "trian"}})) == [
        (
            "warning",
            f"{where}.ann_file: ann_file 'data/trai.json' does not exist in 'data'. Did you mean 'train.json'?",
        ),
        (
            "warning",
            f"{where}.data_prefix.img: data_prefix.img 'data/trian' does not exist in 'data'. Did you mean 'train'?",
        ),
    ]
    assert found(**data(dataset={"type": "Files", "data_root": "dat", "ann_file": "train.json"})) == [
        ("warning", f"{where}.dataset.data_root: data_root 'dat' does not exist in '.'. Did you mean 'data'?"),
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"data_root": "s3://bucket/data", "ann_file": "x.json"},
        {"data_root": "nowhere", "backend_args": {"backend": "petrel"}},
        {"data_root": "", "ann_file": ""},
        {"data_prefix": {"img": "http://x/y", "n": None}},
    ],
)
def test_data_that_lies_elsewhere_is_not_judged(found, settings):
    assert found(**data(**settings)) == []
