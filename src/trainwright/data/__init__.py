"""Datasets to batches: samplers, collate functions, and loaders with keyed randomness."""

from trainwright.data.builder import build_dataloader
from trainwright.data.collate import default_collate, pseudo_collate
from trainwright.data.compose import Compose
from trainwright.data.keyed import KeyedDataLoader, mix
from trainwright.data.sampler import DefaultSampler, InfiniteSampler
from trainwright.data.sliced import SlicedDataset
from trainwright.data.workers import worker_init_fn

__all__ = [
    "Compose",
    "DefaultSampler",
    "InfiniteSampler",
    "KeyedDataLoader",
    "SlicedDataset",
    "build_dataloader",
    "default_collate",
    "mix",
    "pseudo_collate",
    "worker_init_fn",
]
