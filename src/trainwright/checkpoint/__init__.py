"""Checkpoints: their format, where they lie, which one counts, and loading of weights."""

from trainwright.checkpoint.format import check_file, read_file, read_meta, write_file
from trainwright.checkpoint.manager import CheckpointManager
from trainwright.checkpoint.pretrained import PretrainedInit
from trainwright.checkpoint.weights import load_weights, revised, weights_of

__all__ = [
    "CheckpointManager",
    "PretrainedInit",
    "check_file",
    "load_weights",
    "read_file",
    "read_meta",
    "revised",
    "weights_of",
    "write_file",
]
