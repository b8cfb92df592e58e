"""Several metrics over one stream of predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from trainwright.base.errors import ConfigError, ConfigTypeError, DataRuleError
from trainwright.base.text import did_you_mean
from trainwright.evaluation.metric import BaseMetric
from trainwright.registry import EVALUATOR, FUNCTIONS, METRICS


@EVALUATOR.register_module()
class Evaluator:
    """`metrics`: a BaseMetric or a config of the METRICS registry, or several."""

    def __init__(self, metrics: dict[str, Any] | BaseMetric | Sequence[dict[str, Any] | BaseMetric]) -> None:
        self._dataset_meta: dict[str, Any] | None = None
        self.metrics: list[BaseMetric] = []
        for metric in metrics if isinstance(metrics, Sequence) else [metrics]:
            built = METRICS.build(metric) if isinstance(metric, dict) else metric
            if not all(callable(getattr(built, name, None)) for name in ("process", "evaluate")):
                raise ConfigTypeError(
                    f"a metric must be a BaseMetric, or a dict with the key 'type', got "
                    f"{type(metric).__name__}: {metric!r}"
                )
            self.metrics.append(built)

    @property
    def dataset_meta(self) -> dict[str, Any] | None:
        """What the dataset says of itself; setting it tells every metric."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict[str, Any] | None) -> None:
        self._dataset_meta = dataset_meta
        for metric in self.metrics:
            metric.dataset_meta = dataset_meta

    def process(self, data_samples: Any, data_batch: Any = None) -> None:
        """Give one batch of the model's predictions to every metric; data elements become dicts.

        A dict that holds the predictions of the whole batch counts as one entry.
        """
        if data_samples is None:
            raise ConfigTypeError(
                "the model gave no predictions (None): forward(mode='predict'), or val_step, must return them"
            )
        entries = [data_samples] if isinstance(data_samples, dict) else data_samples
        as_dicts = [entry.to_dict() if hasattr(entry, "to_dict") else entry for entry in entries]
        for metric in self.metrics:
            metric.process(data_batch, as_dicts)

    def evaluate(self, size: int) -> dict[str, Any]:
        """All metrics over the dataset's `size` samples, the same dict on every rank; the results are cleared."""
        metrics: dict[str, Any] = {}
        for metric in self.metrics:
            for name, value in metric.evaluate(size).items():
                if name in metrics:
                    raise ConfigError(
                        f"There are multiple evaluation results with the same metric name {name}: the second is of "
                        f"{type(metric).__name__}; give one of them another prefix=..."
                    )
                metrics[name] = value
        return metrics

    def discard(self) -> None:
        """Drop what the metrics have collected and not evaluated, as after a pass that was stopped."""
        for metric in self.metrics:
            if isinstance(metric, BaseMetric):
                metric.discard()

    def offline_evaluate(
        self, data_samples: Sequence[Any], data: Sequence[Any] | None = None, chunk_size: int = 1
    ) -> dict[str, Any]:
        """The metrics over predictions that exist already, `chunk_size` of them processed at a time.

        `data`: the samples that they are of, in the same order; each chunk of them is collated by ``pseudo_collate``.
        """
        if isinstance(chunk_size, bool) or not isinstance(chunk_size, int) or chunk_size < 1:
            raise ConfigError(f"offline_evaluate: chunk_size must be an integer of at least 1, got {chunk_size!r}")
        if data is not None and len(data_samples) != len(data):
            raise DataRuleError(
                f"offline_evaluate got {len(data_samples)} predictions and {len(data)} samples of data; it needs one "
                "prediction of each, in the same order"
            )
        # By its registered name: rooms of one floor do not import each other.
        collate: Any = FUNCTIONS.get("pseudo_collate") if data is not None else None
        batches = None if data is None else _chunks(data, chunk_size)
        size = 0
        for chunk in _chunks(data_samples, chunk_size):
            size += len(chunk)
            self.process(chunk, None if batches is None else collate(next(batches)))
        return self.evaluate(size)


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    source = iter(items)
    while chunk := list(islice(source, size)):
        yield chunk


def get_metric_value(indicator: str, metrics: dict[str, Any]) -> Any:
    """The metric of that name: the whole one, as 'coco/bbox_mAP', or its last part, 'bbox_mAP', where one has it."""
    if "/" in indicator:
        if indicator not in metrics:
            raise ConfigError(
                f"{indicator!r} can not match any metric in {', '.join(metrics)}.{did_you_mean(indicator, metrics)}"
            )
        return metrics[indicator]
    matched = [name for name in metrics if name.split("/")[-1] == indicator]
    if not matched:
        last = [name.split("/")[-1] for name in metrics]
        raise ConfigError(
            f"{indicator!r} can not match any metric in {', '.join(metrics)}.{did_you_mean(indicator, last)}"
        )
    if len(matched) > 1:
        raise ConfigError(f"{indicator!r} matches multiple metrics: {', '.join(matched)}. Give the whole name of one")
    return metrics[matched[0]]
