"""Checkpoints: their format, where they lie, which one counts, and loading of weights."""

from trainwright.checkpoint.format import check_file, read_file, read_meta, write_file
from trainwright.checkpoint.manager import CheckpointManager
from trainwright.checkpoint.pretrained import PretrainedInit
from trainwright.checkpoint.step_record import StepRecord, read_step_record, write_step_record
from trainwright.checkpoint.weights import load_weights, revised, weights_of

__all__ = [
    "CheckpointManager",
    "PretrainedInit",
    "StepRecord",
    "check_file",
    "load_weights",
    "read_file",
    "read_meta",
    "read_step_record",
    "revised",
    "weights_of",
    "write_file",
    "write_step_record",
]
