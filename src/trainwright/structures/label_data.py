"""Labels of a whole sample."""

from __future__ import annotations

import torch

from trainwright.base.text import brief
from trainwright.structures.base_data_element import BaseDataElement
from trainwright.structures.errors import FieldError, FieldTypeError


class LabelData(BaseDataElement):
    """An element for labels and scores of a sample, and the two ways to write a label."""

    @staticmethod
    def onehot_to_label(onehot: torch.Tensor) -> torch.Tensor:
        """The indices (n_labels,) of what is not 0 in (num_classes,), which holds 0 and 1, or values between."""
        _demand_tensor(onehot, "onehot")
        if onehot.ndim != 1 or onehot.max().item() > 1 or onehot.min().item() < 0:
            raise FieldError(
                "input is not one-hot and can not convert to label: it needs one dimension and values from 0 to 1, got "
                f"{brief(onehot)}"
            )
        return onehot.nonzero().squeeze(-1)

    @staticmethod
    def label_to_onehot(label: torch.Tensor, num_classes: int) -> torch.Tensor:
        """Of indices (n_labels,), a tensor (num_classes,) with 1 there and 0 elsewhere, of the same type."""
        _demand_tensor(label, "label")
        if label.numel() and label.max().item() >= num_classes:
            raise FieldError(f"label {label.max().item()} is not among num_classes={num_classes}, which count from 0")
        onehot = label.new_zeros((num_classes,))
        onehot[label] = 1
        return onehot


def _demand_tensor(value: object, name: str) -> None:
    if not isinstance(value, torch.Tensor):
        raise FieldTypeError(f"{name} must be a tensor, got {brief(value)} of type {type(value).__name__}")
