"""Data of instances."""

import numpy as np
import pytest
import torch

from trainwright.structures import BaseDataElement, InstanceData
from trainwright.structures.errors import FieldError, FieldTypeError


class Joinable:
    """As a user's class of boxes is: slices only."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, part):
        return Joinable(self.rows[part])

    @staticmethod
    def cat(parts):
        return Joinable([row for part in parts for row in part.rows])


class NotJoinable(Joinable):
    cat = property()


def instances():
    return InstanceData(
        metainfo={"size": (4, 5)},
        boxes=torch.arange(20.0).view(5, 4),
        scores=np.arange(5),
        names=list("abcde"),
        pairs=tuple("ABCDE"),
        text="vwxyz",
        rows=Joinable([[n] for n in range(5)]),
        inner=InstanceData(x=torch.arange(5)),
    )


def numbers_of(picked):
    return (
        [int(row[0]) // 4 for row in picked.boxes],
        picked.scores.tolist(),
        ["abcde".index(name) for name in picked.names],
        ["ABCDE".index(name) for name in picked.pairs],
        ["vwxyz".index(name) for name in picked.text],
        [row[0] for row in picked.rows.rows],
        picked.inner.x.tolist(),
    )


PICKS = {
    "number": (2, [2]),
    "last": (-1, [4]),
    "slice": (slice(1, None, 2), [1, 3]),
    "list": ([3, 0], [3, 0]),
    "negative": ([-1, 0], [4, 0]),
    "none": ([], []),
    "bools": ([True, False, False, True, False], [0, 3]),
    "int64": (np.array([4, 4]), [4, 4]),
    "int32": (np.array([1, 2], dtype=np.int32), [1, 2]),
    "int16": (np.array([1, 2], dtype=np.int16), [1, 2]),
    "mask": (np.array([False, True, False, False, False]), [1]),
    "tensor": (torch.tensor([2, 1]), [2, 1]),
    "mask_tensor": (torch.tensor([True, True, False, False, False]), [0, 1]),
    "empty_mask": (torch.zeros(5, dtype=torch.bool), []),
}


@pytest.mark.parametrize("name", PICKS)
def test_an_index_picks_in_every_field(name):
    index, numbers = PICKS[name]
    one = instances()
    picked = one[index]
    assert numbers_of(picked) == (numbers,) * 7
    assert (len(picked), picked.size, picked.keys()) == (len(numbers), (4, 5), one.keys())
    assert [type(value) for value in picked.values()] == [type(value) for value in one.values()]


def test_a_name_gives_the_field():
    one = instances()
    assert one["boxes"] is one.boxes
    one["extra"] = [0] * 5
    assert one.extra == [0] * 5


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (5, IndexError, "Index 5 out of range! There are 5 instances"),
        (-6, IndexError, "Index -6 out of range!"),
        ([5], IndexError, "out of"),
        (torch.ones(2), FieldTypeError, "got Tensor of torch.float32"),
        (np.ones(2), FieldTypeError, "got ndarray of float64"),
        (np.ones(5, dtype=np.uint8), FieldTypeError, "got ndarray of uint8"),
        (1.5, FieldTypeError, "picked by a name, a number, a slice, .* got float: 1.5"),
        ([[1]], FieldError, r"must have one dimension, got the shape \(1, 1\)"),
        (torch.ones(4, dtype=torch.bool), FieldError, "BoolTensor.* 4 does not match the number of instances, 5"),
    ],
    ids=["5", "-6", "list", "float", "array", "uint8", "number", "2d", "short mask"],
)
def test_an_index_that_picks_nothing_is_refused(index, error, message):
    with pytest.raises(error, match=message):
        instances()[index]


def test_fields_have_one_length():
    one = InstanceData(x=torch.ones(2))
    with pytest.raises(FieldError, match=r"length of values 3 is not consistent .* InstanceData 2, in which y is set"):
        one.y = [1, 2, 3]
    with pytest.raises(FieldTypeError, match="value must contain `__len__`.* y .* got 3 of type int"):
        one.y = 3
    assert (len(one), len(InstanceData())) == (2, 0)


def test_what_cannot_be_joined_is_refused_by_name():
    one = InstanceData(rows=NotJoinable([1, 2]))
    with pytest.raises(ValueError, match="type of `rows` is `.*NotJoinable'>`, which has no attribute of `cat`, so"):
        one[[0]]
    assert one[:1].rows.rows == [1]
    with pytest.raises(ValueError, match="type of `rows` is `.*NotJoinable'>` which has no attribute of `cat`"):
        InstanceData.cat([one, one])


def test_cat_joins_every_field():
    one = instances()
    joined = InstanceData.cat([one[[0]], one[3:], one[[]]])
    assert numbers_of(joined) == ([0, 3, 4],) * 7
    assert joined.size == (4, 5)
    assert InstanceData.cat([one]) is one
    assert numbers_of(one) == ([0, 1, 2, 3, 4],) * 7


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ([], "needs one InstanceData at least, got none"),
        ([InstanceData(), BaseDataElement()], "cat joins InstanceData, got BaseDataElement"),
        ([InstanceData(x=[1]), InstanceData(y=[1])], "different keys .* Elements 0 and 1 do not both have x, y: give"),
    ],
)
def test_cat_refuses_what_does_not_belong_together(elements, message):
    with pytest.raises(AssertionError, match=message):
        InstanceData.cat(elements)
