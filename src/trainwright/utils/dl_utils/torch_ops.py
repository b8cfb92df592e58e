"""torch functions whose arguments changed over its versions."""

from __future__ import annotations

from typing import Any

import torch


def torch_meshgrid(*tensors: torch.Tensor) -> Any:
    """Grids with the first index along the first axis."""
    return torch.meshgrid(*tensors, indexing="ij")
