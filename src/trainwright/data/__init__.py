"""Datasets to batches: samplers, collate functions, and loaders with keyed randomness."""

from trainwright.data.base_dataset import BaseDataset, force_full_init
from trainwright.data.builder import build_dataloader
from trainwright.data.collate import default_collate, pseudo_collate
from trainwright.data.compose import Compose
from trainwright.data.keyed import KeyedDataLoader, mix
from trainwright.data.sampler import DefaultSampler, InfiniteSampler
from trainwright.data.sliced import SlicedDataset
from trainwright.data.workers import worker_init_fn
from trainwright.data.wrappers import ClassBalancedDataset, ConcatDataset, RepeatDataset

__all__ = [
    "BaseDataset",
    "ClassBalancedDataset",
    "Compose",
    "ConcatDataset",
    "DefaultSampler",
    "InfiniteSampler",
    "KeyedDataLoader",
    "RepeatDataset",
    "SlicedDataset",
    "build_dataloader",
    "default_collate",
    "force_full_init",
    "mix",
    "pseudo_collate",
    "worker_init_fn",
]
