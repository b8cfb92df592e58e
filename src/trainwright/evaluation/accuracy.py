"""Classification accuracy."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from trainwright.base.errors import ConfigError, ConfigTypeError, DataError
from trainwright.dist import collect_results, data_info
from trainwright.evaluation.metric import BaseMetric
from trainwright.registry import METRICS

_WRONG = torch.iinfo(torch.int32).max


@METRICS.register_extra
class Accuracy(BaseMetric):
    """Top-k accuracy in percent, as ``accuracy/top1``; `topk` is one k or several.

    Each prediction is a dict of one sample or of a whole batch, with scores (C,) or (N, C) under `score_key`, or class
    indices () or (N,) under `pred_key` (enough for k = 1). Labels () or (N,) are looked up under `label_key` in the
    prediction, then in the data batch. A batch is read by no host; per sample four bytes are kept, on the device.
    """

    default_prefix = "accuracy"

    def __init__(
        self,
        topk: int | Sequence[int] = 1,
        prefix: str | None = None,
        *,
        pred_key: str = "pred",
        score_key: str = "scores",
        label_key: str = "label",
        collect_device: str = "cpu",
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        self.topk: tuple[int, ...] = (topk,) if isinstance(topk, int) else tuple(topk)
        if not self.topk or any(not isinstance(k, int) or k < 1 for k in self.topk):
            raise ConfigError(f"Accuracy: topk must be an integer of at least 1, or several, got {topk!r}")
        self.pred_key, self.score_key, self.label_key = pred_key, score_key, label_key
        self._size: int | None = None

    @classmethod
    def result_names(cls, **settings: Any) -> list[str] | None:
        """``accuracy/top1`` and so on for each k of `topk`, under `prefix`."""
        topk = settings.get("topk", 1)
        several = topk if isinstance(topk, (list, tuple)) else [topk]
        return [f"{settings.get('prefix') or cls.default_prefix}/top{k}" for k in several]

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Append the place of each true class among the predicted ones (0 is the first), shape (N,), as one entry."""
        for entry in data_samples:
            if not isinstance(entry, Mapping):
                raise ConfigTypeError(
                    f"Accuracy reads predictions as dicts, got {type(entry).__name__}; return dicts with "
                    f"{self.score_key!r} or {self.pred_key!r} from forward(mode='predict')"
                )
        if data_samples:
            self.results.append(self._places(data_samples, self._labels(data_batch, data_samples)))

    def _labels(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        for source in (data_samples, [data_batch] if isinstance(data_batch, Mapping) else data_batch):
            labels = _column(source, self.label_key)
            if labels:
                return torch.cat([label.reshape(-1) for label in labels])
        raise ConfigError(
            f"Accuracy found no {self.label_key!r} in the predictions (keys: {sorted(data_samples[0])}) nor in the "
            "data batch; return the labels from forward(mode='predict'), or set label_key"
        )

    def _places(self, data_samples: Sequence[Mapping[str, Any]], labels: torch.Tensor) -> torch.Tensor:
        preds = _column(data_samples, self.pred_key) if max(self.topk) == 1 else []
        if preds:
            pred = torch.cat([value.reshape(-1) for value in preds])
            return (pred != self._matching(labels, pred)).to(torch.int32) * _WRONG
        scores = _column(data_samples, self.score_key)
        if not scores:
            wanted = f"{self.score_key!r}" + (f" or {self.pred_key!r}" if max(self.topk) == 1 else "")
            raise ConfigError(
                f"Accuracy with topk={self.topk} needs {wanted} in the predictions, which have the keys "
                f"{sorted(data_samples[0])}; return it from forward(mode='predict'), or set score_key or pred_key"
            )
        score = torch.cat([value.reshape(-1, value.shape[-1]) for value in scores])
        if max(self.topk) > score.shape[1]:
            raise ConfigError(f"Accuracy: topk={self.topk} asks for more classes than the {score.shape[1]} with scores")
        return place_of_label(score, self._matching(labels, score))

    def _matching(self, labels: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
        if len(labels) != len(predicted):
            raise DataError(
                f"Accuracy got {len(predicted)} predictions and {len(labels)} labels for one batch; it needs a label "
                "for each"
            )
        return labels.to(predicted.device)

    def gather_results(self, size: int) -> list[Any] | None:
        """The places of all ranks in dataset order, with what a sampler padded still at the end; one host read."""
        self._size = size
        places = torch.cat(self.results).tolist() if self.results else []
        return collect_results(places, sys.maxsize, self.collect_device, tmpdir=self.collect_dir)

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        """Percent of samples whose true class is among the first k."""
        size, self._size = self._size, None
        if size is not None:
            if not size <= len(results) < size + data_info()[1]:
                raise DataError(
                    f"Accuracy got {len(results)} predictions for a dataset of {size} samples: it needs one of each; "
                    "set drop_last=False and a sampler that visits every sample once"
                )
            results = results[:size]
        if not results:
            raise DataError(
                "Accuracy got no prediction: the validation loader gave no batch, or process() was not called"
            )
        return {f"top{k}": 100.0 * sum(place < k for place in results) / len(results) for k in self.topk}


def place_of_label(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """How many classes come before the true one, (N,) int32, from scores (N, C) and labels (N,).

    Equal scores are ordered by class index, as argmax does; a score that is NaN comes before the true class.
    """
    labels = labels.long().unsqueeze(1)
    own = scores.gather(1, labels)
    classes = torch.arange(scores.shape[1], device=scores.device)
    before = torch.where(classes < labels, ~(scores < own), ~(scores <= own) & (classes != labels))
    return before.sum(1, dtype=torch.int32)


def _column(entries: Any, key: str) -> list[torch.Tensor]:
    """The values under `key` of all entries; none unless all have it."""
    if not isinstance(entries, Sequence) or not all(isinstance(entry, Mapping) and key in entry for entry in entries):
        return []
    return [torch.as_tensor(value) for entry in entries for value in _flat(entry[key])]


def _flat(value: Any) -> list[Any]:
    """A list of tensors, as `pseudo_collate` leaves it, one by one."""
    return (
        list(value)
        if isinstance(value, (list, tuple)) and len(value) and isinstance(value[0], torch.Tensor)
        else [value]
    )
