"""Labels of samples."""

import pytest
import torch

from trainwright.structures import LabelData


def test_labels_have_two_spellings():
    onehot = LabelData.label_to_onehot(torch.tensor([3, 1]), 5)
    assert onehot.tolist() == [0, 1, 0, 1, 0]
    assert LabelData.onehot_to_label(onehot).tolist() == [1, 3]
    assert LabelData.label_to_onehot(torch.tensor([], dtype=torch.int64), 2).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("do", "error", "message"),
    [
        (lambda: LabelData.onehot_to_label(torch.tensor([2])), ValueError, "input is not one-hot and can not convert"),
        (lambda: LabelData.onehot_to_label(torch.ones(1, 1)), ValueError, "it needs one dimension"),
        (lambda: LabelData.onehot_to_label("x"), AssertionError, "onehot must be a tensor, got 'x' of type str"),
        (lambda: LabelData.label_to_onehot([1], 3), AssertionError, "label must be a tensor, got"),
        (lambda: LabelData.label_to_onehot(torch.tensor([3]), 3), AssertionError, "label 3 is not among num_classes=3"),
    ],
)
def test_a_label_of_neither_spelling_is_refused(do, error, message):
    with pytest.raises(error, match=message):
        do()
