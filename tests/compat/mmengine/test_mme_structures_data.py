"""mmengine.structures: InstanceData, PixelData, LabelData."""

import itertools
import re

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.usefixtures("mmengine")


class Polygons:
    """A structure of a user's own that can be sliced and joined."""

    def __init__(self, rows):
        assert isinstance(rows, list)
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, item):
        if type(item) is int:
            if not -len(self) <= item < len(self):
                raise IndexError(f"Index {item} out of range!")
            item = slice(item, None, len(self))
        return type(self)(self.rows[item])

    @staticmethod
    def cat(parts):
        assert all(isinstance(part, Polygons) for part in parts)
        return Polygons(list(itertools.chain(*[part.rows for part in parts])))


class Loose:
    """One that cannot be joined."""

    def __init__(self, rows):
        self.rows = rows

    __len__ = Polygons.__len__
    __getitem__ = Polygons.__getitem__


@pytest.fixture
def instances():
    from mmengine.structures import InstanceData

    return InstanceData(
        metainfo={"img_id": 3, "img_shape": (4, 4)},
        bboxes=torch.rand((5, 4)),
        labels=np.arange(5),
        polygons=Polygons(np.arange(25).reshape((5, -1)).tolist()),
        texts=["a", "b", "c", "d", "e"],
        pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10)),
    )


def test_fields_have_one_length(instances):
    from mmengine.structures import InstanceData

    for name in ("_metainfo_fields", "_data_fields"):
        with pytest.raises(AttributeError):
            setattr(instances, name, 1)
    with pytest.raises(AssertionError):
        instances.v = 3  # has no length
    with pytest.raises(AssertionError):
        instances.priors = torch.rand((7, 4))
    instances.priors = torch.rand((5, 4))
    assert len(instances) == 5
    instances["anchors"] = torch.rand((5, 4))
    assert instances["anchors"] is instances.anchors
    assert len(InstanceData()) == 0


def test_one_number_keeps_the_dimension(instances):
    from mmengine.structures import InstanceData

    with pytest.raises(IndexError):
        InstanceData()[1]
    assert len(instances[:2]) == 2
    for index in (1, -1):
        one = instances[index]
        assert (len(one), one.bboxes.shape, len(one.polygons), len(one.texts)) == (1, (1, 4), 1, 1)
        assert one.img_id == 3
    for index in (5, -6):
        with pytest.raises(IndexError):
            instances[index]


@pytest.mark.parametrize(
    ("index", "numbers"),
    [
        (torch.tensor([3, 1]), [3, 1]),
        (torch.tensor([-1]), [4]),
        (torch.tensor([], dtype=torch.int64), []),
        (torch.tensor([True, False, False, False, True]), [0, 4]),
        (torch.zeros(5, dtype=torch.bool), []),
        ([1, 2], [1, 2]),
        ([True, False, True, False, False], [0, 2]),
        (np.array([2, 2]), [2, 2]),
        (np.array([1, 0], dtype=np.int32), [1, 0]),
        (np.array([False, False, False, False, True]), [4]),
        (slice(None, None, 2), [0, 2, 4]),
    ],
    ids=str,
)
def test_an_index_picks_in_every_field(instances, index, numbers):
    picked = instances[index]
    assert len(picked) == len(numbers)
    assert picked.labels.tolist() == numbers
    assert torch.equal(picked.bboxes, instances.bboxes[numbers])
    assert [row[0] // 5 for row in picked.polygons.rows] == numbers
    assert picked.texts == ["abcde"[number] for number in numbers]
    assert picked.pairs == tuple((2 * n + 1, 2 * n + 2) for n in numbers)
    assert picked.metainfo == instances.metainfo


def test_other_indices_are_refused(instances):
    item = torch.Tensor([1, 2, 3, 4])
    for index in (item.bool(), torch.ones((5, 1), dtype=torch.bool), 1.5):
        with pytest.raises(AssertionError):
            instances[index]
    with pytest.raises(AssertionError):
        instances[item]


def test_a_structure_without_cat_can_only_be_sliced(instances):
    instances.loose = Loose(np.arange(25).reshape((5, -1)).tolist())
    assert len(instances[:2].loose) == 2
    kind = re.escape(str(type(instances.loose)))
    with pytest.raises(
        ValueError, match=f"The type of `loose` is `{kind}`, which has no attribute of `cat`, so it does not support"
    ):
        instances[torch.rand(5) > 0.5]
    with pytest.raises(ValueError, match=f"The type of `loose` is `{kind}` which has no attribute of `cat`"):
        instances.cat([instances, instances.clone()])


def test_cat(instances):
    from mmengine.structures import BaseDataElement, InstanceData

    joined = InstanceData.cat([instances, instances.clone()])
    assert len(joined) == 10
    assert joined.metainfo == instances.metainfo
    assert joined.labels.tolist() == [*range(5), *range(5)]
    assert joined.texts == list("abcdeabcde")
    assert len(joined.polygons) == len(joined.pairs) == 10
    empty = instances[torch.zeros(5) == 1]
    assert len(InstanceData.cat([instances, empty])) == 5
    assert len(InstanceData.cat([instances])) == 5
    for wrong in ([instances, BaseDataElement(bboxes=torch.rand((5, 4)))], []):
        with pytest.raises(AssertionError):
            InstanceData.cat(wrong)
    more = instances.clone()
    more.extra = torch.ones(5)
    with pytest.raises(AssertionError):
        InstanceData.cat([instances, more])


@pytest.fixture
def pixels():
    from mmengine.structures import PixelData

    image, features = np.random.randint(0, 255, (4, 20, 40)), torch.randint(0, 255, (10, 20, 40))
    return PixelData(metainfo={"img_id": 3}, image=image, featmap=features)


def test_maps_have_one_size(pixels):
    for name in ("_metainfo_fields", "_data_fields"):
        with pytest.raises(AttributeError):
            setattr(pixels, name, 1)
    for value in ("value", torch.randint(0, 255, (10, 21, 41)), torch.randint(0, 255, (1, 3, 20, 40))):
        with pytest.raises(AssertionError):
            pixels.v = value
    pixels.map2 = torch.randint(0, 255, (3, 20, 40))
    assert tuple(pixels.map2.shape) == (3, 20, 40)
    with pytest.warns(UserWarning, match="The shape of value will convert from"):
        pixels.map3 = torch.randint(0, 255, (20, 40))
    assert tuple(pixels.map3.shape) == (1, 20, 40)


def test_maps_are_cut(pixels):
    from mmengine.structures import PixelData

    assert pixels.shape == (20, 40)
    assert PixelData().shape is None
    cut = pixels[10:15, 20:30]
    assert (cut.shape, cut.image.shape, cut.img_id) == ((5, 10), (4, 5, 10), 3)
    assert pixels[10, 20].shape == pixels[-1, -1].shape == (1, 1)
    with pytest.raises(AssertionError):
        pixels[1, 2, 3]
    with pytest.raises(TypeError, match="Unsupported type <class 'int'> for slicing PixelData"):
        pixels[10]
    with pytest.raises(TypeError, match="The type of element in input must be int or slice, but got"):
        pixels["a", 1]


def test_label_to_onehot():
    from mmengine.structures import LabelData

    onehot = LabelData.label_to_onehot(label=torch.tensor([1], dtype=torch.int64), num_classes=10)
    assert tuple(onehot.shape) == (10,)
    assert onehot.nonzero().tolist() == [[1]]
    for label in ("item", torch.tensor([11], dtype=torch.int64)):
        with pytest.raises(AssertionError):
            LabelData.label_to_onehot(label=label, num_classes=10)
    empty = LabelData.label_to_onehot(label=torch.tensor([], dtype=torch.int64), num_classes=10)
    assert (empty == torch.zeros((10,), dtype=torch.int64)).all()


def test_onehot_to_label():
    from mmengine.structures import LabelData

    with pytest.raises(ValueError, match="input is not one-hot and can not convert to label"):
        LabelData.onehot_to_label(onehot=torch.tensor([2], dtype=torch.int64))
    with pytest.raises(AssertionError):
        LabelData.onehot_to_label(onehot="item")
    label = torch.arange(0, 9)
    assert torch.equal(LabelData.onehot_to_label(LabelData.label_to_onehot(label, num_classes=10)), label)
