"""Data elements."""

import copy
import pickle

import numpy as np
import pytest
import torch

from trainwright.structures import BaseDataElement, InstanceData
from trainwright.structures.errors import FieldError, FieldNameError, FieldTypeError, MissingFieldError
from trainwright.structures.field_names import FieldNames


class Sample(BaseDataElement):
    """One with a field that checks its type."""

    @property
    def truth(self):
        return self._truth

    @truth.setter
    def truth(self, value):
        self.set_field(value, "_truth", dtype=BaseDataElement)

    @truth.deleter
    def truth(self):
        del self._truth


def element():
    return BaseDataElement(metainfo={"size": (4, 5), "name": "a"}, boxes=torch.arange(4.0), labels=np.arange(3))


def test_both_halves_are_attributes_and_keep_their_order():
    one = element()
    one.extra = "text"
    assert BaseDataElement(zz=1, a=2, m=3, b=4).keys() == ["zz", "a", "m", "b"]
    assert (one.keys(), one.metainfo_keys()) == (["boxes", "labels", "extra"], ["size", "name"])
    assert one.all_keys() == ["size", "name", "boxes", "labels", "extra"]
    assert one.metainfo == {"size": (4, 5), "name": "a"}
    assert one.metainfo_values() == [(4, 5), "a"]
    assert one.values()[2] is one.extra
    assert one.all_values()[:2] == [(4, 5), "a"]
    assert list(dict(one.items())) == one.keys()
    assert list(dict(one.all_items())) == one.all_keys()
    assert ("boxes" in one, "size" in one, "other" in one) == (True, True, False)
    assert one.get("size") == (4, 5)
    assert one.get("other", 3) == 3


def test_metainfo_is_copied_and_data_is_not():
    size, boxes = [4, 5], torch.ones(2)
    one = BaseDataElement(metainfo={"size": size}, boxes=boxes)
    assert one.size == size
    assert one.size is not size
    assert one.boxes is boxes
    again = one.clone()
    assert again.size is not one.size
    assert again.boxes is boxes


def test_new_takes_over_what_is_not_given():
    one = element()
    assert one.new().all_keys() == one.all_keys()
    other = one.new(metainfo={"name": "b"}, scores=1)
    assert (other.all_keys(), other.name) == (["name", "scores"], "b")
    assert isinstance(Sample().new(), Sample)


def test_update_takes_over_everything():
    one = element()
    one.update(BaseDataElement(metainfo={"name": "b"}, more=1))
    assert (one.name, one.more, one.size) == ("b", 1, (4, 5))


@pytest.mark.parametrize(
    ("do", "error", "message"),
    [
        (lambda one: one.set_metainfo([1]), FieldTypeError, r"metainfo should be a dict .* got \[1\] of type list"),
        (lambda one: one.set_data([1]), FieldTypeError, r"data should be a dict .* got \[1\] of type list"),
        (lambda one: one.update({}), FieldTypeError, "instance should be a BaseDataElement, got {} of type dict"),
        (lambda one: one.set_field(1, "x", field_type="meta"), FieldError, "must be 'metainfo' or 'data', got 'meta'"),
        (lambda one: one.set_field(1, "_x", dtype=str), FieldTypeError, "x should be a <class 'str'>, got 1 of type"),
        (
            lambda one: setattr(one, "size", 1),
            FieldNameError,
            r"size to be a field of data .* metainfo field; se",
        ),
        (lambda one: one.set_metainfo({"boxes": 1}), FieldNameError, "boxes to be a field of metainfo because"),
        (lambda one: setattr(one, "_data_fields", 1), FieldNameError, "_data_fields has been used as a private"),
        (lambda one: delattr(one, "_metainfo_fields"), FieldNameError, "_metainfo_fields has been used as a private"),
        (lambda one: one.pop("boxs"), MissingFieldError, "^boxs is not contained .* Did you mean 'boxes'"),
        (lambda one: one.pop("boxes", 1, 2), FieldTypeError, "a name and a default, .* got 3 arguments"),
    ],
)
def test_a_mistake_is_told(do, error, message):
    one = element()
    with pytest.raises(error, match=message):
        do(one)
    assert one.all_keys() == element().all_keys()


def test_fields_are_taken_out():
    one = element()
    del one.boxes
    del one["name"]
    assert one.all_keys() == ["size", "labels"]
    assert one.pop("size") == (4, 5)
    assert one.pop("size", None) is None
    assert one.all_keys() == ["labels"]
    one.size = 3  # the name is free again
    assert one.keys() == ["labels", "size"]


def test_a_property_is_a_field():
    one, truth = Sample(metainfo={"name": "a"}), BaseDataElement(x=1)
    one.truth = truth
    assert ("truth" in one, one.keys(), one.truth is truth) == (True, ["truth"], True)
    assert one.clone().truth is truth
    del one.truth
    assert (one.keys(), "_truth" in one) == ([], False)
    one.truth = truth
    assert one.pop("truth") is truth
    assert (one.keys(), "_truth" in one) == ([], False)
    assert one.pop("truth", 3) == 3


def test_a_property_that_refuses_a_value_leaves_no_field():
    one = Sample()
    with pytest.raises(AssertionError, match="truth should be a .*BaseDataElement.*, got 3 of type int"):
        one.truth = 3
    assert one.keys() == one.values() == []


def test_the_methods_of_tensors_reach_elements_inside():
    inner = BaseDataElement(x=torch.ones(2, requires_grad=True), a=np.zeros(2))
    one = BaseDataElement(metainfo={"name": "a"}, inner=inner, y=torch.ones(1), text="t")
    half = one.to(torch.float16)
    assert (half.y.dtype, half.inner.x.dtype, half.text, half.name) == (torch.float16, torch.float16, "t", "a")
    assert one.y.dtype == torch.float32
    assert not one.detach().inner.x.requires_grad
    arrays = one.numpy()
    assert (type(arrays.y), type(arrays.inner.x)) == (np.ndarray, np.ndarray)
    tensors = arrays.to_tensor()
    assert (type(tensors.y), type(tensors.inner.x), type(tensors.inner.a)) == (torch.Tensor,) * 3
    assert one.cpu().y.device.type == "cpu"
    assert one.to("meta").inner.x.device.type == "meta"


@pytest.mark.parametrize("kind", ["cuda", "npu", "mlu", "musa"])
def test_a_device_is_asked_of_each_tensor(kind, monkeypatch):
    monkeypatch.setattr(torch.Tensor, kind, lambda tensor: tensor.to("meta"), raising=False)
    moved = getattr(BaseDataElement(y=torch.ones(1), inner=BaseDataElement(x=torch.ones(1)), n=1), kind)()
    assert (moved.y.device.type, moved.inner.x.device.type, moved.n) == ("meta", "meta", 1)


def test_to_dict_opens_elements():
    one = BaseDataElement(metainfo={"name": "a"}, inner=InstanceData(x=[1, 2]))
    assert one.to_dict() == {"name": "a", "inner": {"x": [1, 2]}}


def test_repr_shows_both_halves_and_what_is_inside():
    inner = BaseDataElement(metainfo={"size": 3}, x=torch.zeros(1))
    one = BaseDataElement(metainfo={"facts": {"k": 1}}, inner=inner)
    assert repr(one) == (
        "<BaseDataElement(\n\n    META INFORMATION\n    facts: \n        k: 1\n\n    DATA FIELDS\n"
        "    inner: <BaseDataElement(\n        \n            META INFORMATION\n            size: 3\n        \n"
        f"            DATA FIELDS\n            x: tensor([0.])\n        ) at {hex(id(inner))}>\n) at {hex(id(one))}>"
    )


def test_copies_and_pickles_are_elements_of_their_own():
    one = element()
    for other in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert other.all_keys() == one.all_keys()
        other.extra = 1
        del other.boxes
        assert one.keys() == ["boxes", "labels"]


def test_names_are_a_set():
    names = FieldNames(["b", "a"])
    names.add("b")
    assert (list(names), names == {"a", "b"}, len(names), repr(names)) == (["b", "a"], True, 2, "{'b', 'a'}")
    assert list(names - {"b"}) == ["a"]
    assert list(names | {"c"}) == ["b", "a", "c"]
    with pytest.raises(KeyError):
        names.remove("c")
