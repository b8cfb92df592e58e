"""The parts of the text example: Python's own source as bytes, a small GPT, and bits per byte."""

from __future__ import annotations

import math
import sysconfig
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from trainwright.evaluation import BaseMetric
from trainwright.model import BaseModel
from trainwright.registry import DATASETS, METRICS, MODELS

N_BYTES = 256
EVERY = 20  # one file in twenty is kept for validation
SKIPPED = frozenset({"test", "tests", "idlelib", "lib2to3", "turtledemo", "site-packages", "dist-packages"})


@cache
def stdlib_text(split: str) -> torch.Tensor:
    """All bytes of one split of the standard library's ``.py`` files, in the order of their names, (n_bytes,) uint8."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [file.relative_to(root) for file in root.rglob("*.py") if not SKIPPED & set(file.relative_to(root).parts)]
    names = sorted(file.as_posix() for file in files)
    chosen = [name for number, name in enumerate(names) if (number % EVERY == 0) == (split == "val")]
    return torch.frombuffer(bytearray(b"".join((root / name).read_bytes() for name in chosen)), dtype=torch.uint8)


@DATASETS.register_module()
class StdlibText(Dataset[dict[str, torch.Tensor]]):
    """Windows of the text: ``{"inputs": (block + 1,) int64}``, of which each byte but the first is to be predicted.

    Args:
        split: "train" (windows that start anywhere in their stretch of text) or "val" (always the same windows).
        block: bytes to predict in a window.
        n_windows: take only this many, spread evenly over the text; None takes all that fit.
    """

    def __init__(self, split: str, block: int, n_windows: int | None = None) -> None:
        if split not in ("train", "val"):
            raise ValueError(f"split={split!r} must be 'train' or 'val'")
        self.text, self.block, self.jitter = stdlib_text(split), block, split == "train"
        self.n_windows = n_windows or (len(self.text) - 1) // block - 1
        self.stride = (len(self.text) - 2 * block - 1) / self.n_windows

    def __len__(self) -> int:
        return self.n_windows

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        start = int(index * self.stride)
        if self.jitter:
            start += int(torch.randint(self.block, ()))
        return {"inputs": self.text[start : start + self.block + 1].long()}


class Block(nn.Module):
    """Causal self-attention and a two-layer network, each on a normalised input and added to it; (N, T, C) -> same."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = self.qkv(self.norm1(x)).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


@MODELS.register_module()
class ByteGPT(BaseModel):
    """A decoder over bytes with learned positions and one matrix for reading and writing bytes.

    Args:
        block: longest context in bytes.
        width: size of the residual stream.
        n_layers: number of blocks.
        n_heads: attention heads a block; divides ``width``.
    """

    def __init__(self, block: int, width: int = 128, n_layers: int = 5, n_heads: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if width % n_heads:
            raise ValueError(f"width={width} must be a multiple of n_heads={n_heads}")
        self.bytes, self.places = nn.Embedding(N_BYTES, width), nn.Embedding(block, width)
        self.blocks = nn.Sequential(*(Block(width, n_heads) for _ in range(n_layers)))
        self.norm = nn.LayerNorm(width)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:  # what is added to the residual stream starts smaller, the more layers add to it
                added = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * n_layers) if added else 0.02)

    def forward(self, inputs: torch.Tensor, mode: str = "tensor") -> Any:
        """``inputs`` (N, T + 1) -> the loss, or ("predict") the nats of each byte (T,) of each window.

        In mode "tensor" ``inputs`` is a context (N, T), and the result its scores.
        """
        if mode == "tensor":
            return self.scores(inputs)
        nats = F.cross_entropy(self.scores(inputs[:, :-1]).transpose(1, 2), inputs[:, 1:], reduction="none")
        return {"loss": nats.mean()} if mode == "loss" else [{"nats": window} for window in nats]

    def scores(self, inputs: torch.Tensor) -> torch.Tensor:
        """(N, T) -> (N, T, 256): for each place the scores of the byte that follows."""
        x = self.bytes(inputs) + self.places.weight[: inputs.shape[1]]
        return F.linear(self.norm(self.blocks(x)), self.bytes.weight)


@METRICS.register_module()
class BitsPerByte(BaseMetric):
    """Mean bits that a byte costs, as ``text/bits_per_byte``: 8 for a coder that knows nothing."""

    default_prefix = "text"

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the mean nats of each window, a tensor ()."""
        self.results.extend(sample["nats"].mean() for sample in data_samples)

    def compute_metrics(self, results: list[torch.Tensor]) -> dict[str, float]:
        """Mean over all windows, which are of one length."""
        return {"bits_per_byte": float(torch.stack(results).mean()) / math.log(2)}
