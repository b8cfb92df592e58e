"""Several metrics over one stream of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.evaluation.metric import BaseMetric
from trainwright.registry import EVALUATOR, METRICS


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
                        f"two metrics give the name {name!r}, the second is {type(metric).__name__}; give one of them "
                        "another prefix=..."
                    )
                metrics[name] = value
        return metrics
