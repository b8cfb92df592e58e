"""The metric contract: collect per-sample results batch by batch, reduce them once at the end."""

from __future__ import annotations

import logging
from abc import ABCMeta, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from trainwright.base.errors import ConfigError, ConfigTypeError, DataError
from trainwright.base.logs import print_log
from trainwright.dist import broadcast_object_list, collect_results, is_main_process
from trainwright.evaluation.names import read_names


class BaseMetric(metaclass=ABCMeta):
    """A subclass appends an entry a sample to ``self.results`` in ``process``, and reduces them in ``compute_metrics``.

    `prefix` (else the class's ``default_prefix``) goes before the names, as ``prefix/name``. `collect_device`: 'cpu' or
    'gpu', through which the ranks' results are gathered; `collect_dir`: a folder to pass them through, 'cpu' only.
    """

    default_prefix: ClassVar[str | None] = None

    def __init__(self, collect_device: str = "cpu", prefix: str | None = None, collect_dir: str | None = None) -> None:
        if collect_device not in ("cpu", "gpu"):
            raise ConfigError(f"{type(self).__name__}: collect_device must be 'cpu' or 'gpu', got {collect_device!r}")
        if collect_dir is not None and collect_device != "cpu":
            raise ConfigError(
                f"{type(self).__name__}: collect_dir={collect_dir!r} needs collect_device='cpu', got {collect_device!r}"
            )
        self.collect_device = collect_device
        self.collect_dir = collect_dir
        self.results: list[Any] = []
        self.prefix = prefix or self.default_prefix
        self._dataset_meta: dict[str, Any] | None = None
        if self.prefix is None:
            print_log(
                f"The prefix is not set in metric class {type(self).__name__}. Another may give the same names; set "
                "prefix= or the class's default_prefix",
                "current",
                logging.WARNING,
            )

    @classmethod
    def result_names(cls, **settings: Any) -> list[str] | None:
        """The names, prefix included, that an instance made with `settings` will give; None where nobody can know.

        A config's ``save_best`` is held against them before anything is built. Here they are read from the source of
        ``compute_metrics``, when each of its returns is a dict with its keys written out. A metric whose names follow
        from its settings overrides this.
        """
        return read_names(cls, BaseMetric, settings)

    @property
    def dataset_meta(self) -> dict[str, Any] | None:
        """What the dataset says of itself (class names and the like); set by the evaluator."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict[str, Any] | None) -> None:
        self._dataset_meta = dataset_meta

    @abstractmethod
    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Append the results of one batch of predictions to ``self.results``."""

    @abstractmethod
    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        """Metrics by name from the results of all ranks; called on rank 0 only."""

    def gather_results(self, size: int) -> list[Any] | None:
        """The first `size` results of all ranks in dataset order on rank 0, None elsewhere."""
        return collect_results(self.results, size, self.collect_device, tmpdir=self.collect_dir)

    def evaluate(self, size: int) -> dict[str, Any]:
        """The metrics over the dataset's `size` samples, the same dict on every rank; the results are cleared.

        An error on rank 0 is raised on all ranks.
        """
        self._check_collected()
        gathered = self.gather_results(size)
        self.results.clear()
        outcome: list[Any] = [None]
        failure: Exception | None = None
        if is_main_process():
            try:
                outcome[0] = self._named(self.compute_metrics(to_cpu(gathered)))
            except Exception as error:  # noqa: BLE001 - raised below, when the other ranks know
                failure = error
                outcome[0] = f"{type(error).__name__}: {error}"
        self.discard()
        broadcast_object_list(outcome)
        if failure is not None:
            raise failure
        if isinstance(outcome[0], str):
            raise DataError(f"{type(self).__name__} failed on rank 0: {outcome[0]}")
        metrics: dict[str, Any] = outcome[0]
        return metrics

    def discard(self) -> None:
        """Drop what was collected: after it has been evaluated, and before a pass that follows one that was stopped."""
        self.results.clear()

    def _check_collected(self) -> None:
        if not self.results:
            print_log(
                f"{type(self).__name__} has collected no result: process() must append to self.results",
                "current",
                logging.WARNING,
            )

    def _named(self, metrics: Any) -> dict[str, Any]:
        if not isinstance(metrics, dict):
            raise ConfigTypeError(
                f"{type(self).__name__}.compute_metrics must return a dict of names and values, got "
                f"{type(metrics).__name__}: {metrics!r}"
            )
        return {f"{self.prefix}/{name}": value for name, value in metrics.items()} if self.prefix else metrics


def to_cpu(data: Any) -> Any:
    """`data` with its tensors, and what else has ``to``, on the CPU."""
    if isinstance(data, torch.Tensor) or (hasattr(data, "to") and not isinstance(data, type)):
        return data.to("cpu")
    if isinstance(data, Mapping):
        return {key: to_cpu(value) for key, value in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(to_cpu(value) for value in data))
    if isinstance(data, (list, tuple)):
        return type(data)(to_cpu(value) for value in data)
    return data


_to_cpu = to_cpu  # MMEngine's name, which metrics of other packages import
