"""A small transformer for the toy task, whose layers can be divided among ranks in every way."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from trainwright.model import BaseModel
from trainwright.registry import MODELS
from trainwright.testing.toys import CLASSES, DIM

VOCABULARY = 11
PLAN: dict[str, Any] = {
    "embed": "embedding",
    "layers.*.attention": {"type": "Divide", "attributes": ["n_heads"]},
    "layers.*.attention.w[qkv]": "colwise",
    "layers.*.attention.wo": "rowwise",
    "layers.*.fc1": "colwise",
    "layers.*.fc2": "rowwise",
}
# The same, with the positions divided between the layers too.
SEQUENCE_PLAN: dict[str, Any] = {
    **PLAN,
    "layers.0": {
        "type": "PrepareModuleInput",
        "input_layouts": ["replicate"],
        "desired_input_layouts": ["shard(1)"],
        "use_local_output": True,
    },
    "layers.*.norm?": "sequence",
    "layers.*.gain": "replicate_sum",
    "norm": "sequence",
    "layers.*.attention.w[qkv]": "colwise_sequence",
    "layers.*.attention.wo": "rowwise_scatter",
    "layers.*.fc1": "colwise_sequence",
    "layers.*.fc2": "rowwise_scatter",
    "head": {"type": "ColwiseParallel", "input_layouts": "shard(1)", "output_layouts": "replicate"},
}


class ToyAttention(nn.Module):
    """Attention of every position to all, (N, T, C) to (N, T, C). `norms`: queries are normalised, head by head."""

    def __init__(self, channels: int, n_heads: int, norms: bool = False) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(channels, channels) for _ in range(4))
        self.norm = nn.LayerNorm(channels // n_heads) if norms else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend."""
        n, t, _ = x.shape
        q, k, v = (w(x).view(n, t, self.n_heads, -1).transpose(1, 2) for w in (self.wq, self.wk, self.wv))
        mixed = F.scaled_dot_product_attention(self.norm(q), k, v)
        return self.wo(mixed.transpose(1, 2).reshape(n, t, -1))  # type: ignore[no-any-return]


class ToyLayer(nn.Module):
    """A layer with a gain of its own besides its parts."""

    def __init__(self, channels: int, n_heads: int, dropout: float, norms: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = ToyAttention(channels, n_heads, norms)
        self.fc1, self.fc2 = nn.Linear(channels, 2 * channels), nn.Linear(2 * channels, channels)
        self.gain = nn.Parameter(torch.ones(channels))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attention and two linear layers, each beside its input."""
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.gain * self.fc2(torch.relu(self.fc1(self.norm2(x))))  # type: ignore[no-any-return]


@MODELS.register_module()
class ToyTransformer(BaseModel):
    """Takes the numbers of a toy sample for a sequence of 6 tokens, of 11 kinds. `tied`: the output layer, of which 3
    scores are used, has the weights of the table. Predicts ``{"scores": (N, 3), "label": (N,)}``."""

    def __init__(
        self,
        channels: int = 8,
        n_heads: int = 4,
        n_layers: int = 2,
        dropout: float = 0.0,
        tied: bool = False,
        norms: bool = False,
        data_preprocessor: Any = None,
    ) -> None:
        super().__init__(data_preprocessor)
        self.embed = nn.Embedding(VOCABULARY, channels)
        self.place = nn.Parameter(0.1 * torch.randn(DIM, channels))
        self.layers = nn.ModuleList([ToyLayer(channels, n_heads, dropout, norms) for _ in range(n_layers)])
        self.norm = nn.LayerNorm(channels)
        self.head = nn.Linear(channels, VOCABULARY, bias=not tied)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, inputs: Any, label: Any = None, mode: str = "tensor") -> Any:
        """Losses, predictions or scores of inputs (N, 6) and labels (N,)."""
        tokens = ((2 * inputs).round().long() + VOCABULARY // 2).clamp(0, VOCABULARY - 1)
        x = self.embed(tokens) + self.place
        for layer in self.layers:
            x = layer(x)
        scores = self.head(self.norm(x)).mean(1)[:, :CLASSES]
        if mode == "loss":
            return {"loss": F.cross_entropy(scores, label)}
        return {"scores": scores, "label": label} if mode == "predict" else scores
