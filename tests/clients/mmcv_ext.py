"""A stand-in for `mmcv/_ext`, the operators that MMCV compiles and mmcv-lite has not.

Every operator is there by name, as importing `mmcv.ops` asks, and raises when it is called. `nms` alone works, in plain
torch: a detector cannot be evaluated without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float, offset: int) -> torch.Tensor:
    """Indices, by falling score, of the boxes (N, 4) that overlap no better one by more than the threshold."""
    x1, y1, x2, y2 = boxes.unbind(1)
    areas = (x2 - x1 + offset) * (y2 - y1 + offset)
    order = scores.argsort(descending=True, stable=True)
    kept = []
    while order.numel():
        best, rest = order[0], order[1:]
        kept.append(best)
        width = (torch.minimum(x2[best], x2[rest]) - torch.maximum(x1[best], x1[rest]) + offset).clamp(min=0)
        height = (torch.minimum(y2[best], y2[rest]) - torch.maximum(y1[best], y1[rest]) + offset).clamp(min=0)
        common = width * height
        order = rest[common / (areas[best] + areas[rest] - common) <= iou_threshold]
    return torch.stack(kept) if kept else order


def __getattr__(name: str) -> Callable[..., Any]:
    if name.startswith("__"):
        raise AttributeError(name)

    def absent(*arguments: Any, **options: Any) -> NoReturn:
        raise NotImplementedError(f"mmcv-lite has no compiled operators: {name} was called")

    absent.__name__ = name
    return absent
