"""BaseDataset and Compose: what a file or its absence gives, what is known of a dataset, its parts."""

import copy
import json
from unittest import mock

import pytest
import torch

pytestmark = pytest.mark.usefixtures("mmengine")

ANNOTATIONS = {
    "metainfo": {"dataset_type": "toys", "task_name": "task", "empty_list": []},
    "data_list": [{"img_path": f"{n}.jpg", "height": 10 + n} for n in range(3)],
}


@pytest.fixture
def base(tmp_path, monkeypatch):
    """``base(**settings)`` makes a dataset of three samples; each is parsed to ``base.info``."""
    from mmengine.dataset import BaseDataset

    (tmp_path / "ann").mkdir()
    for name, content in (("good", ANNOTATIONS), ("keys", {"meta": {}, "data_list": []}), ("list", ["a"])):
        (tmp_path / "ann" / f"{name}.json").write_text(json.dumps(content))

    def make(cls=BaseDataset, **settings):
        common = {"data_root": str(tmp_path), "data_prefix": {"img_path": "imgs"}, "ann_file": "ann/good.json"}
        return cls(**{**common, **settings})

    make.info = {"filename": "a.jpg", "height": 604, "width": 640, "sample_idx": 0}
    make.root = str(tmp_path)
    monkeypatch.setattr(BaseDataset, "METAINFO", {})
    monkeypatch.setattr(BaseDataset, "parse_data_info", mock.MagicMock(return_value=make.info))
    return make


def test_files(base):
    from mmengine.dataset import BaseDataset

    dataset = base()
    assert dataset._fully_initialized
    assert hasattr(dataset, "data_address")
    assert (len(dataset), dataset[0]) == (3, base.info)
    dataset = base(serialize_data=False)
    assert not hasattr(dataset, "data_address")
    assert dataset.get_data_info(0) == base.info
    assert base(lazy_init=True).data_list == []
    for file, error in (("none", FileNotFoundError), ("keys", ValueError), ("list", TypeError)):
        with pytest.raises(error):
            base(ann_file=f"ann/{file}.json")
    with pytest.raises(TypeError):
        base(data_prefix={"img_path": ["imgs"]})
    BaseDataset.parse_data_info = mock.MagicMock(return_value=[base.info, dict(base.info)])
    assert len(base()) == 6
    for wrong in ("text", [base.info, "text"]):
        BaseDataset.parse_data_info = mock.MagicMock(return_value=wrong)
        with pytest.raises(TypeError):
            base()


def test_paths(base, monkeypatch):
    from mmengine.dataset import BaseDataset

    settings = {"lazy_init": True, "ann_file": "/a.json", "data_root": "x"}
    dataset = BaseDataset(**settings, data_prefix={"img": "b", "seg": "/q"})
    assert (dataset.ann_file, dataset.data_prefix) == ("/a.json", {"img": "x/b", "seg": "/q"})
    assert BaseDataset("a.json", lazy_init=True, data_root="").ann_file == "a.json"
    monkeypatch.undo()
    assert base().get_data_info(0)["img_path"] == f"{base.root}/imgs/0.jpg"


def test_metainfo(base, tmp_path):
    from mmengine.config import Config
    from mmengine.dataset import BaseDataset

    assert base().metainfo == ANNOTATIONS["metainfo"]
    BaseDataset.METAINFO = {"dataset_type": "other", "classes": ("dog", "cat")}
    known = {**ANNOTATIONS["metainfo"], "dataset_type": "other"}
    assert base().metainfo == {**known, "classes": ("dog", "cat")}
    for given in ({"classes": ("dog",), "task_name": "new"}, Config({"classes": ("dog",), "task_name": "new"})):
        dataset = base(metainfo=given)
        assert dataset.metainfo == {**known, "classes": ("dog",), "task_name": "new"}
    BaseDataset.METAINFO["classes"] = ("dog", "cat", "fish")
    assert dataset.metainfo["classes"] == ("dog",)
    (tmp_path / "classes.txt").write_text("dog\n")
    assert base(metainfo={"classes": str(tmp_path / "classes.txt")}).metainfo["classes"] == ["dog"]
    lazy = base(metainfo={"classes": ("dog",)}, lazy_init=True)
    assert lazy.metainfo == {"dataset_type": "other", "classes": ("dog",)}
    with pytest.raises(TypeError):
        base(metainfo="dog")


@pytest.mark.parametrize("ask", [len, lambda dataset: dataset[0], lambda dataset: dataset.get_data_info(0)])
def test_it_is_read_when_it_is_asked(base, ask):
    dataset = base(lazy_init=True)
    assert not dataset._fully_initialized
    ask(dataset)
    assert dataset._fully_initialized
    assert len(dataset) == 3


def test_a_method_needs_full_init():
    from mmengine.dataset import force_full_init

    class WithoutIt:
        @force_full_init
        def get(self):
            raise AssertionError

    with pytest.raises(AttributeError):
        WithoutIt().get()


def test_samples_that_the_pipeline_drops(base):
    dataset = base(max_refetch=20)
    dataset.prepare_data = mock.MagicMock(return_value=None)
    with pytest.raises(Exception, match="None|valid"):
        dataset[0]
    assert dataset.prepare_data.call_count == 21
    dataset.prepare_data = lambda idx: 1 if idx else None
    assert dataset[1] == 1
    dataset.max_refetch = 1000
    assert dataset[0] == 1
    dataset.test_mode = True
    with pytest.raises(Exception, match="None"):
        dataset[0]
    assert base(indices=1)._rand_another() == 0


def test_compose():
    from mmengine.dataset import Compose
    from mmengine.registry import TRANSFORMS

    given = {"img": torch.rand(2)}
    assert Compose([lambda data: data])(given) is given
    drop = mock.MagicMock(return_value=None)
    compose = Compose([drop, len])
    assert compose(given) is None
    assert repr(compose) == f"Compose(\n    {drop}\n    {len}\n)"
    TRANSFORMS.register_module(name="NotCallableOfDatasets", module=type("NotCallableOfDatasets", (), {}))
    try:
        for wrong in ({"type": "NotCallableOfDatasets"}, 1):
            with pytest.raises(TypeError):
                Compose([wrong])
    finally:
        TRANSFORMS.module_dict.pop("NotCallableOfDatasets")


@pytest.mark.parametrize("serialize_data", [True, False])
@pytest.mark.parametrize("in_place", [True, False])
def test_subsets(base, serialize_data, in_place):
    dataset = base(serialize_data=serialize_data)

    def cut(indices):
        if not in_place:
            return dataset.get_subset(indices)
        other = copy.deepcopy(dataset)
        other.get_subset_(indices)
        return other

    for indices, expected in (
        (2, [0, 1]),
        (-2, [1, 2]),
        (0, []),
        ([], []),
        ([1], [1]),
        ([-1], [2]),
        ([0, 1, 2], [0, 1, 2]),
        ([-1, -2, 0], [2, 1, 0]),
    ):
        part = cut(indices)
        assert len(part) == len(expected)
        assert [part[n] for n in range(len(part))] == [{**dataset[i], "sample_idx": n} for n, i in enumerate(expected)]
    with pytest.raises(TypeError):
        cut({})
    other = dataset._copy_without_annotation()
    assert not hasattr(other, "data_address")
    assert not hasattr(other, "data_list")
