"""Predictions for a dataset, in one process or in several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from trainwright import dist
from trainwright.compat.mmcv1.runner.dist_utils import get_dist_info
from trainwright.utils.progressbar import ProgressBar


def single_gpu_test(model: nn.Module, data_loader: Any) -> list[Any]:
    """What `model(return_loss=False, **batch)` gives for each batch, in one list, with a progress bar."""
    bar = ProgressBar(len(data_loader.dataset))
    results: list[Any] = []
    for part in _predictions(model, data_loader):
        results.extend(part)
        for _ in part:
            bar.update()
    return results


def multi_gpu_test(
    model: nn.Module, data_loader: Any, tmpdir: str | None = None, gpu_collect: bool = False
) -> list[Any] | None:
    """As `single_gpu_test`, by all ranks: rank 0 gets the results in the order of the dataset, the others None."""
    rank, world_size = get_dist_info()
    size = len(data_loader.dataset)
    bar = ProgressBar(size) if rank == 0 else None
    results: list[Any] = []
    for part in _predictions(model, data_loader):
        results.extend(part)
        if bar is not None:
            for _ in range(min(len(part) * world_size, size - bar.completed)):
                bar.update()
    return collect_results_gpu(results, size) if gpu_collect else collect_results_cpu(results, size, tmpdir)


def collect_results_cpu(result_part: list[Any], size: int, tmpdir: str | None = None) -> list[Any] | None:
    """The results of all ranks on rank 0. They pass through main memory: `tmpdir` is not needed for it."""
    return dist.collect_results_cpu(result_part, size)


def collect_results_gpu(result_part: list[Any], size: int) -> list[Any] | None:
    """The results of all ranks on rank 0, through the device's backend."""
    return dist.collect_results_gpu(result_part, size)


def _predictions(model: nn.Module, data_loader: Any) -> Iterator[Any]:
    model.eval()
    for data in data_loader:
        with torch.no_grad():
            part = model(return_loss=False, **data)
        yield part
