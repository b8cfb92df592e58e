"""The parts of the digits example: 8 x 8 scans of handwritten digits, augmentation, and a small CNN."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from trainwright.data import Compose
from trainwright.model import BaseModel
from trainwright.registry import DATASETS, MODELS, TRANSFORMS

N_TRAIN = 1437
SIDE = 8

Sample = dict[str, Any]


@DATASETS.register_module()
class Digits(Dataset[Sample]):
    """scikit-learn's 1,797 scans, always split into the same 1,437 for training and 360 for testing.

    A sample is ``{"inputs": (8, 8) float32 in 0 ... 1, "label": int}`` before the pipeline.

    Args:
        split: "train" or "test".
        pipeline: transforms, applied to each sample whenever it is read.
    """

    metainfo = {"classes": tuple("0123456789")}

    def __init__(self, split: str, pipeline: Sequence[dict[str, Any] | Callable[..., Any]] = ()) -> None:
        if split not in ("train", "test"):
            raise ValueError(f"split={split!r} must be 'train' or 'test'")
        scans = load_digits()
        order = np.random.RandomState(0).permutation(len(scans.target))
        chosen = order[:N_TRAIN] if split == "train" else order[N_TRAIN:]
        self.images = (scans.images[chosen] / 16).astype(np.float32)
        self.labels = scans.target[chosen]
        self.pipeline = Compose(pipeline)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        return self.pipeline({"inputs": self.images[index], "label": int(self.labels[index])})


@TRANSFORMS.register_module()
class RandomAffine:
    """Rotates, scales and shifts a scan a little; bilinear, zeros outside.

    Args:
        degrees: rotation of up to this much either way.
        scale: size changes by up to this share either way.
        shift: shift of up to this many pixels along each axis.
    """

    def __init__(self, degrees: float, scale: float, shift: float) -> None:
        self.degrees, self.scale, self.shift = degrees, scale, shift
        self.grid = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2

    def __call__(self, sample: Sample) -> Sample:
        turn, size, right, down = np.random.uniform(-1, 1, 4)
        angle, zoom = math.radians(turn * self.degrees), 1 / (1 + size * self.scale)
        cos, sin = math.cos(angle) * zoom, math.sin(angle) * zoom
        column, row, centre = self.grid[None, :], self.grid[:, None], (SIDE - 1) / 2
        x = cos * column - sin * row + centre + right * self.shift
        y = sin * column + cos * row + centre + down * self.shift
        return {**sample, "inputs": bilinear(sample["inputs"], x, y)}


def bilinear(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Values of ``image`` at the points (x, y), zero outside of it; shapes (8, 8)."""
    pad, width = 3, SIDE + 6
    padded = np.zeros((width, width), np.float32)
    padded[pad : pad + SIDE, pad : pad + SIDE] = image
    left, top = np.floor(x), np.floor(y)
    fx, fy = x - left, y - top
    column = np.clip(left.astype(np.int64) + pad, 0, width - 2)
    row = np.clip(top.astype(np.int64) + pad, 0, width - 2)
    flat, at = padded.ravel(), row * width + column
    upper = flat[at] * (1 - fx) + flat[at + 1] * fx
    lower = flat[at + width] * (1 - fx) + flat[at + width + 1] * fx
    return (upper * (1 - fy) + lower * fy).astype(np.float32)


@TRANSFORMS.register_module()
class GaussianNoise:
    """Adds noise of the given standard deviation to every pixel."""

    def __init__(self, std: float) -> None:
        self.std = std

    def __call__(self, sample: Sample) -> Sample:
        noise = np.random.standard_normal((SIDE, SIDE)).astype(np.float32)
        return {**sample, "inputs": sample["inputs"] + self.std * noise}


@TRANSFORMS.register_module()
class ToTensor:
    """The scan as a tensor (1, 8, 8)."""

    def __call__(self, sample: Sample) -> Sample:
        return {**sample, "inputs": torch.from_numpy(sample["inputs"]).unsqueeze(0)}


@MODELS.register_module()
class DigitsCNN(BaseModel):
    """Four 3 x 3 convolutions in two stages, and one linear layer.

    Args:
        width: channels of the first stage; the second has twice as many.
        dropout: share of the features dropped before the linear layer.
        label_smoothing: see ``torch.nn.functional.cross_entropy``.
    """

    def __init__(self, width: int = 32, dropout: float = 0.2, label_smoothing: float = 0.05, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.label_smoothing = label_smoothing
        self.features = nn.Sequential(
            *self.block(1, width),
            *self.block(width, width),
            nn.MaxPool2d(2),
            *self.block(width, 2 * width),
            *self.block(2 * width, 2 * width),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(8 * width, 10))

    @staticmethod
    def block(inside: int, outside: int) -> list[nn.Module]:
        """A convolution, normalised and rectified."""
        return [nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]

    def forward(self, inputs: torch.Tensor, label: torch.Tensor | None = None, mode: str = "tensor") -> Any:
        """``inputs`` (N, 1, 8, 8) -> scores (N, 10), or the loss, or one dict a batch for the metric."""
        scores = self.head(self.features(inputs))
        if mode == "loss":
            return {"loss": F.cross_entropy(scores, label, label_smoothing=self.label_smoothing)}
        if mode == "predict":
            return [{"scores": scores, "label": label}]
        return scores
