"""Shows the samples of a test with what was predicted for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from trainwright.base.errors import ConfigError, DataError
from trainwright.dist import is_main_process
from trainwright.engine import Hook
from trainwright.engine.hook import DATA_BATCH
from trainwright.registry import HOOKS
from trainwright.visualization import Visualizer


@HOOKS.register_module()
class NaiveVisualizationHook(Hook):
    """Hands the samples of every ``interval``-th test batch to ``visualizer.add_datasample(name, image, data_sample,
    draw_gt, draw_pred, step=)`` with the image as it was before normalisation, padding and resizing (API of mmengine's
    NaiveVisualizationHook).

    A batch is a dict of ``inputs`` and ``data_samples``, or a list of dicts of ``inputs`` and ``data_sample``; an input
    is a (C, H, W) tensor with 1 or 3 channels. Of a data sample, an object or a dict, these are read where it has
    them: ``img_norm_cfg`` (``mean``, ``std``), ``img_shape`` (height and width inside the padding), ``ori_shape`` or
    ``ori_width`` and ``ori_height``, and ``img_path`` for the name. Values of floating point up to 1 count as shares of
    255. The prediction is what is drawn; where it is a dict or has no such fields, those of the batch are read.
    """

    priority = "NORMAL"

    def __init__(self, interval: int = 1, draw_gt: bool = True, draw_pred: bool = True) -> None:
        if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
            raise ConfigError(
                f"NaiveVisualizationHook interval must be a whole number from 1 on, but got {interval!r}."
            )
        self.draw_gt = draw_gt
        self.draw_pred = draw_pred
        self._interval = interval
        self._n_seen = 0

    def before_test(self, runner: Any) -> None:
        """Check that there is somebody to draw."""
        self._n_seen = 0
        kind = type(runner.visualizer)
        if getattr(kind, "add_datasample", Visualizer.add_datasample) is Visualizer.add_datasample:
            raise ConfigError(
                f"NaiveVisualizationHook has nobody to draw: {kind.__name__} has no add_datasample() of its own. "
                "Derive a visualizer that has, register it in VISUALIZERS, and name it: visualizer=dict(type=...)."
            )

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Any = None) -> None:
        """Show the samples of the batch when it is its turn."""
        first = self._n_seen
        self._n_seen += len(outputs)
        if not self.every_n_inner_iters(batch_idx, self._interval) or not is_main_process():
            return
        for n, (image, given, output) in enumerate(zip(*_samples(data_batch, outputs), strict=True)):
            source = given if given is not None else output
            path = _field(source, "img_path")
            name = os.path.basename(path) if path else f"test_{first + n}"
            runner.visualizer.add_datasample(
                name,
                original_image(image, source),
                data_sample=output,
                draw_gt=self.draw_gt,
                draw_pred=self.draw_pred,
                step=first + n,
            )


def _samples(batch: Any, outputs: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Inputs, data samples of the batch and predictions."""
    if isinstance(batch, Mapping) and "inputs" in batch:
        given = batch.get("data_samples")
        images = list(batch["inputs"])
        return images, [None] * len(images) if given is None else list(given), list(outputs)
    if isinstance(batch, (list, tuple)) and all(isinstance(item, Mapping) and "inputs" in item for item in batch):
        return [item["inputs"] for item in batch], [item.get("data_sample") for item in batch], list(outputs)
    found = f"the keys {', '.join(map(str, batch))}" if isinstance(batch, Mapping) else f"a {type(batch).__name__}"
    raise DataError(
        "NaiveVisualizationHook needs test batches that are dicts of inputs and data_samples, or lists of dicts of "
        f"inputs and data_sample, but got {found}."
    )


def _field(sample: Any, name: str) -> Any:
    return sample.get(name) if isinstance(sample, Mapping) else getattr(sample, name, None)


def original_image(image: Any, sample: Any) -> np.ndarray[Any, Any]:
    """(H, W, C) 8-bit, of the size that the picture had before it was prepared for the model."""
    if isinstance(image, torch.Tensor) and image.ndim == 4 and len(image) == 1:  # a batch of its own
        image = image[0]
    if not isinstance(image, torch.Tensor) or image.ndim != 3 or image.shape[0] not in (1, 3):
        found = tuple(image.shape) if isinstance(image, torch.Tensor) else type(image).__name__
        raise DataError(
            f"NaiveVisualizationHook draws inputs that are tensors of shape (1 or 3, H, W), but got {found}."
        )
    pixels = image.detach().cpu()
    norm = _field(sample, "img_norm_cfg")
    if norm:
        mean, std = (torch.as_tensor(norm.get(key, default)) for key, default in (("mean", 0.0), ("std", 1.0)))
        pixels = pixels * std.reshape(-1, 1, 1) + mean.reshape(-1, 1, 1)
        pixels = pixels.flip(0) if norm.get("to_bgr") else pixels
    elif pixels.is_floating_point() and pixels.numel() and pixels.max() <= 1:
        pixels = pixels * 255
    inner = _field(sample, "img_shape")
    if inner is None and _field(sample, "pad_shape") is not None and _field(sample, "scale") is not None:
        inner = tuple(_field(sample, "scale"))[::-1]  # width and height, as MMCV's transforms put them down
    if inner is not None:
        pixels = pixels[:, : inner[0], : inner[1]]
    whole = _field(sample, "ori_shape") or (_field(sample, "ori_height"), _field(sample, "ori_width"))
    if None not in whole[:2] and tuple(whole[:2]) != tuple(pixels.shape[1:]):
        pixels = interpolate(pixels[None].float(), size=tuple(whole[:2]), mode="bilinear", align_corners=False)[0]
    if pixels.is_floating_point():
        pixels = pixels.round()
    return np.ascontiguousarray(pixels.clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy())
