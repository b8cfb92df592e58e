"""What torchrun sets for a rank, a batch, and files that configs of docs/distributed.md name."""

import os
from pathlib import Path

import torch

import trainwright.testing.toys  # noqa: F401 - it registers ToyModel

os.environ.update(
    RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", LOCAL_WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="0"
)
batch = {"inputs": torch.zeros(8, 6), "label": torch.zeros(8, dtype=torch.int64)}
Path("zero.json").write_text("{}", encoding="utf-8")
