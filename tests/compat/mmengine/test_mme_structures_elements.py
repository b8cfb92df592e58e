"""mmengine.structures: BaseDataElement."""

import copy

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.usefixtures("mmengine")
BOTH = ["img_id", "img_shape", "gt_instances", "pred_instances"]


@pytest.fixture
def base():
    from mmengine.structures import BaseDataElement

    return BaseDataElement


@pytest.fixture
def metainfo():
    return {"img_id": 7, "img_shape": (500, 600)}


@pytest.fixture
def data(base, metainfo):
    truth = base(bboxes=torch.rand((5, 4)), labels=torch.rand((5,)))
    predictions = base(metainfo=metainfo, bboxes=torch.rand((5, 4)), scores=torch.rand((5,)))
    return {"gt_instances": truth, "pred_instances": predictions}


@pytest.fixture
def sample(base, metainfo, data):
    return base(metainfo=metainfo, **data)


def holds(element, metainfo=None, data=None):
    for name, value in (metainfo or {}).items():
        assert name in element
        assert name in element.all_keys()
        assert name in element.metainfo_keys()
        assert name not in element.keys()  # noqa: SIM118
        assert element.get(name) == getattr(element, name) == value
    for name, value in (data or {}).items():
        assert name in element
        assert name in element.keys()  # noqa: SIM118
        assert name in element.all_keys()
        assert name not in element.metainfo_keys()
        assert element.get(name) is getattr(element, name) is value


def test_it_is_made_of_metainfo_and_data(base, metainfo, data):
    one = base()
    assert (one.keys(), one.metainfo_keys()) == ([], [])
    holds(base(metainfo=metainfo), metainfo)
    holds(base(metainfo=metainfo, **data), metainfo, data)
    with pytest.raises(AssertionError):
        base(metainfo=[metainfo])


def test_new(base, sample, metainfo, data):
    holds(sample.new(), metainfo, data)
    other = sample.new(metainfo={"img_id": 1}, scores=torch.ones(1))
    assert set(other.all_keys()) == {"img_id", "scores"}
    assert type(other) is base


def test_clone(sample, metainfo, data):
    other = sample.clone()
    holds(other, metainfo, data)
    other.gt_instances = 1
    assert sample.gt_instances is data["gt_instances"]


def test_set_metainfo(base, metainfo):
    one = base()
    one.set_metainfo(metainfo)
    holds(one, metainfo)
    with pytest.raises(AssertionError):
        one.set_metainfo([("img_id", 1)])
    nested = {"ids": [1]}
    one.set_metainfo(nested)
    nested["ids"].append(2)
    assert one.ids == [1]


def test_set_field(base, metainfo, data):
    one = base(metainfo=metainfo)
    for name, value in data.items():
        one.set_field(name=name, value=value, field_type="data", dtype=base)
    holds(one, metainfo, data)
    for name, field_type in (("img_id", "data"), ("gt_instances", "metainfo")):
        with pytest.raises(AttributeError):
            one.set_field(name=name, value=1, field_type=field_type)
    with pytest.raises(AssertionError):
        one.set_field(name="x", value=1, field_type="other")
    with pytest.raises(AssertionError):
        one.set_field(name="x", value=1, dtype=str)


def test_set_data(base, data):
    one = base()
    one.set_data(data)
    holds(one, data=data)
    with pytest.raises(AssertionError):
        one.set_data([data])


def test_update(base, sample, metainfo, data):
    one = base(bboxes=1)
    one.update(sample)
    holds(one, metainfo, data)
    assert one.bboxes == 1
    with pytest.raises(AssertionError):
        one.update(data)


def test_data_is_changed_and_metainfo_is_not_by_an_assignment(base, sample, metainfo):
    sample.gt_instances = base(x=1)
    assert sample.gt_instances.x == 1
    for name in metainfo:
        with pytest.raises(AttributeError):
            setattr(sample, name, metainfo[name])
    sample.set_metainfo({"img_id": 8})
    assert sample.img_id == 8
    for name in ("_metainfo_fields", "_data_fields"):
        with pytest.raises(AttributeError):
            delattr(sample, name)
        with pytest.raises(AttributeError):
            setattr(sample, name, 1)


def test_fields_are_deleted_and_popped(sample):
    del sample.gt_instances
    del sample["img_id"]
    assert sample.pop("img_shape") == (500, 600)
    assert sample.pop("pred_instances", None) is not None
    assert sample.all_keys() == []
    for name in BOTH:
        assert name not in sample
        assert sample.pop(name, 3) == 3
        with pytest.raises(KeyError):
            sample.pop(name)
        with pytest.raises(AttributeError):
            delattr(sample, name)
    with pytest.raises(KeyError):
        sample.pop("_data_fields")
    with pytest.raises(AssertionError):
        sample.pop("img_id", 1, 2)


def test_what_it_lists(sample, metainfo, data):
    assert set(sample.keys()) == set(data)
    assert set(sample.metainfo_keys()) == set(metainfo)
    assert set(sample.all_keys()) == set(BOTH)
    assert len(sample.values()) == len(sample.metainfo_values()) == 2
    assert len(sample.all_values()) == 4
    assert dict(sample.items()) == data
    assert dict(sample.metainfo_items()) == sample.metainfo == metainfo
    assert dict(sample.all_items()) == {**metainfo, **data}
    assert sample.get("other") is None
    assert sample.get("other", 3) == 3


def test_tensors_are_converted_at_every_depth(base, sample):
    sample.flag = torch.ones(2, requires_grad=True)
    for moved in (sample.cpu(), sample.to("cpu"), sample.detach()):
        assert moved.flag.device.type == moved.gt_instances.bboxes.device.type == "cpu"
    assert not sample.detach().flag.requires_grad
    halved = sample.to(torch.float16)
    assert halved.gt_instances.bboxes.dtype == halved.flag.dtype == torch.float16
    arrays = sample.numpy()
    assert isinstance(arrays.flag, np.ndarray)
    assert isinstance(arrays.gt_instances.bboxes, np.ndarray)
    assert isinstance(arrays.to_tensor().gt_instances.bboxes, torch.Tensor)
    assert isinstance(arrays.pred_instances, base)


def test_repr_shows_the_tree(base):
    metainfo = {"img_shape": (800, 1196, 3)}
    truth = base(metainfo=metainfo, det_labels=torch.LongTensor([0, 1, 2, 3]))
    one = base(metainfo=metainfo, gt_instances=truth)
    assert repr(one) == (
        "<BaseDataElement(\n\n"
        "    META INFORMATION\n"
        "    img_shape: (800, 1196, 3)\n\n"
        "    DATA FIELDS\n"
        "    gt_instances: <BaseDataElement(\n        \n"
        "            META INFORMATION\n"
        "            img_shape: (800, 1196, 3)\n        \n"
        "            DATA FIELDS\n"
        "            det_labels: tensor([0, 1, 2, 3])\n"
        f"        ) at {hex(id(one.gt_instances))}>\n"
        f") at {hex(id(one))}>"
    )
    nested = base(metainfo={"facts": {"a": {"b": 1}, "c": [1]}})
    text = f"<BaseDataElement(\n\n    META INFORMATION\n    facts: \n        a: \n            b: 1\n{' ' * 8}c: [1]\n\n"
    assert repr(nested) == f"{text}    DATA FIELDS\n) at {hex(id(nested))}>"


def test_fields_by_properties(base):
    class DetSample(base):
        @property
        def proposals(self):
            return self._proposals

        @proposals.setter
        def proposals(self, value):
            self.set_field(value=value, name="_proposals", dtype=base)

        @proposals.deleter
        def proposals(self):
            del self._proposals

    one, proposals = DetSample(), base(bboxes=torch.rand((5, 4)))
    one.proposals = proposals
    assert "proposals" in one
    assert one.proposals is proposals
    assert one.keys() == ["proposals"]
    assert one.values() == [proposals]
    assert one.to_dict()["proposals"].keys() == {"bboxes"}
    assert type(one.new()) is DetSample
    del one.proposals
    assert "proposals" not in one
    with pytest.raises(AssertionError):
        one.proposals = torch.rand((5, 4))


def test_to_dict(sample, data):
    tree = sample.to_dict()
    assert set(tree) == set(BOTH)
    assert set(tree["gt_instances"]) == {"bboxes", "labels"}
    assert tree["gt_instances"]["bboxes"] is data["gt_instances"].bboxes


def test_a_deep_copy_has_its_own_fields(sample):
    other = copy.deepcopy(sample)
    del other.gt_instances
    assert "gt_instances" in sample


def test_it_goes_through_collate_and_the_data_preprocessor(sample):
    from mmengine.dataset import default_collate, pseudo_collate
    from mmengine.model import BaseDataPreprocessor

    for collate in (pseudo_collate, default_collate):
        batch = collate([{"inputs": torch.ones(1), "data_samples": sample}] * 2)
        assert batch["data_samples"] == [sample, sample]
    cast = BaseDataPreprocessor()(batch)["data_samples"]
    assert set(cast[0].all_keys()) == set(BOTH)
