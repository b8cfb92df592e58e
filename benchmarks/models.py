"""Models of the larger benchmarks: the byte GPT of the text example, and a CNN of the size of a ResNet-50."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from trainwright.model import BaseModel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "configs" / "text"))
from gpt_parts import Block, ByteGPT

__all__ = ["Block", "Bottleneck", "ByteGPT", "ResNet", "Residual", "Tower"]


class Residual(nn.Module):
    """Two linear layers on a normalised input, added to it; (N, C) -> same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(F.relu(self.up(self.norm(x))))


class Tower(BaseModel):
    """Such layers one after another, and ten classes."""

    def __init__(self, width: int = 256, n_layers: int = 4) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(Residual(width) for _ in range(n_layers)), nn.Linear(width, 10))

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor, mode: str = "tensor") -> Any:
        """(N, C) and (N,) -> the loss, or scores (N, 10)."""
        scores = self.layers(inputs)
        return {"loss": F.cross_entropy(scores, labels)} if mode == "loss" else scores


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with batch norms, added to the input (He et al. 2016, stride in the 3x3)."""

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        n_out = 4 * width
        self.path = nn.Sequential(
            nn.Conv2d(n_in, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, n_out, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.skip = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.path(x) + self.skip(x))


class ResNet(BaseModel):
    """With the default arguments the layers of a ResNet-50: 25.6 million parameters."""

    def __init__(self, n_blocks: tuple[int, ...] = (3, 4, 6, 3), width: int = 64, n_classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, width, 7, 2, 3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        ]
        n_in = width
        for stage, count in enumerate(n_blocks):
            for number in range(count):
                layers.append(Bottleneck(n_in, width * 2**stage, 2 if stage and not number else 1))
                n_in = 4 * width * 2**stage
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_in, n_classes))

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor, mode: str = "tensor") -> Any:
        """(N, 3, H, W) and (N,) -> the loss, or scores (N, n_classes)."""
        scores = self.layers(inputs)
        return {"loss": F.cross_entropy(scores, labels)} if mode == "loss" else scores
