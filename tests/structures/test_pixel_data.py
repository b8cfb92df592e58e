"""Data of pixels."""

import numpy as np
import pytest
import torch

from trainwright.structures import PixelData


def pixels():
    return PixelData(metainfo={"name": "a"}, image=np.arange(60).reshape(3, 4, 5), heat=torch.arange(20).view(1, 4, 5))


def test_pixels_are_cut_in_rows_and_columns():
    one = pixels()
    assert (one.shape, PixelData().shape, PixelData()[1, 2].shape) == ((4, 5), None, None)
    cut = one[1:3, -1]
    assert (cut.shape, cut.name, cut.heat.tolist()) == ((2, 1), "a", [[[9], [14]]])
    assert cut.image.shape == (3, 2, 1)
    assert one[2, 3].heat.tolist() == [[[13]]]


def test_a_map_gets_a_channel_and_a_warning():
    one = pixels()
    with pytest.warns(UserWarning, match=r"shape of value will convert from torch.Size\(\[4, 5\]\) to .*: m\[None\]"):
        one.m = torch.ones(4, 5)
    assert one.m.shape == (1, 4, 5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("text", "Can not set <class 'str'>, only support .* m='text'"),
        (torch.ones(1, 4, 6), r"values \(4, 6\) is not consistent with the shape of this PixelData \(4, 5\), .* m is"),
        (torch.ones(1, 1, 4, 5), r"must be 2 or 3, but got 4: m is \(C, H, W\) or \(H, W\), not \(1, 1, 4, 5\)"),
    ],
)
def test_what_is_no_map_is_refused(value, message):
    one = pixels()
    with pytest.raises(AssertionError, match=message):
        one.m = value
    assert "m" not in one


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (1, TypeError, "Unsupported type <class 'int'> for slicing PixelData: .* got 1"),
        ((1, 2, 3), AssertionError, r"Only support to slice height and width, got 3 parts: \(1, 2, 3\)"),
        ((1, "a"), TypeError, "type of element in input must be int or slice, but got <class 'str'>"),
        ((4, 0), IndexError, "Index 4 out of range! There are 4 rows or columns"),
    ],
)
def test_a_place_that_is_not_there_is_refused(index, error, message):
    with pytest.raises(error, match=message):
        pixels()[index]
