"""Any metric of torchmetrics: its state is what is kept and what the ranks exchange, not the predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from trainwright.base.errors import ConfigError, ConfigTypeError, DataError
from trainwright.base.lazy import LazyObject
from trainwright.base.optional import require
from trainwright.dist import data_group, data_info, gather_object, has_main
from trainwright.evaluation.metric import BaseMetric, to_cpu
from trainwright.registry import METRICS

_State = dict[str, dict[str, Any]]


@METRICS.register_extra
class TorchMetric(BaseMetric):
    """A metric of torchmetrics, or a MetricCollection: `metric` is a config with its import path as the `type`.

    Each batch is given to ``update(prediction, label)``: the values under `pred_key` and `label_key` (None: none) of
    the predictions, else of the data batch; `more_keys` are further arguments by name. Predictions are one dict a
    sample, whose tensors are stacked, or one dict of the whole batch. `batched` says which, where the first batch does
    not tell: one dict, with a label that has a dimension, is taken for a whole batch.

    The result is called `name`, by default as the class is; one that is a dict keeps its names. Only the metric's state
    is kept, on the device of the predictions. The states of all ranks are brought together once, in the end, on rank 0;
    rows of those that are lists come in dataset order.
    """

    default_prefix = ""

    def __init__(
        self,
        metric: Any,
        pred_key: str = "pred",
        label_key: str | None = "label",
        more_keys: dict[str, str] | None = None,
        *,
        name: str | None = None,
        prefix: str | None = None,
        batched: bool | None = None,
    ) -> None:
        super().__init__(prefix=prefix)
        library = require("torchmetrics", "metrics", "TorchMetric")
        self.metric = _built(metric, library)
        self.name = name or type(self.metric).__name__
        self.pred_key, self.label_key, self.more_keys = pred_key, label_key, dict(more_keys or {})
        self.batched = batched
        self._parts = {n: m for n, m in self.metric.named_modules() if isinstance(m, library.Metric)}
        for part in self._parts.values():  # the states are exchanged here
            part.distributed_available_fn = _not_yours
        self._device: torch.device | None = None
        self._is_batch = batched
        self._n_samples = 0
        self._size: int | None = None

    @classmethod
    def result_names(cls, **settings: Any) -> list[str] | None:
        """`name`, or that of the metric's class, where the result is one tensor."""
        metric, prefix = settings.get("metric"), settings.get("prefix")
        kind = metric.get("type") if isinstance(metric, dict) else type(metric)
        if isinstance(kind, LazyObject):
            kind = kind.build()
        elif isinstance(kind, str):
            kind = METRICS.get(kind)
        compute = getattr(kind, "compute", None)
        if getattr(compute, "__annotations__", {}).get("return") not in (torch.Tensor, "Tensor", "torch.Tensor"):
            return None
        name = settings.get("name") or kind.__name__  # type: ignore[union-attr]
        return [f"{prefix}/{name}" if prefix else name]

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Update the metric's state by one batch."""
        entries = list(data_samples)
        for entry in entries:
            if not isinstance(entry, Mapping):
                raise ConfigTypeError(
                    f"TorchMetric reads predictions as dicts, got {type(entry).__name__}; return dicts with "
                    f"{self.pred_key!r} from forward(mode='predict')"
                )
        if not entries:
            return
        if self._is_batch is None:
            self._is_batch = len(entries) == 1 and self._has_dimension(entries[0])
        keys = [self.pred_key, *([] if self.label_key is None else [self.label_key])]
        arguments = [self._column(key, data_batch, entries) for key in keys]
        named = {name: self._column(key, data_batch, entries) for name, key in self.more_keys.items()}
        tensors = [value for value in (*arguments, *named.values()) if isinstance(value, torch.Tensor)]
        if tensors and tensors[0].device != self._device:
            self._device = tensors[0].device
            self.metric.to(self._device)
        self.metric.update(
            *map(self._placed, arguments), **{name: self._placed(value) for name, value in named.items()}
        )
        self._n_samples += len(arguments[0]) if self._is_batch else len(entries)

    def _has_dimension(self, entry: Mapping[str, Any]) -> bool:
        value = entry.get(self.label_key or self.pred_key, entry.get(self.pred_key))
        return isinstance(value, (list, tuple)) or (isinstance(value, torch.Tensor) and value.dim() > 0)

    def _placed(self, value: Any) -> Any:
        return value.to(self._device) if isinstance(value, torch.Tensor) else value

    def _column(self, key: str, data_batch: Any, entries: list[Mapping[str, Any]]) -> Any:
        """The values under a key: a tensor of the whole batch, or a list where they cannot be stacked."""
        if all(key in entry for entry in entries):
            values = [entry[key] for entry in entries]
            if self._is_batch:
                return _joined(values[0]) if len(values) == 1 else _concatenated(values)
            return _joined(values)
        if isinstance(data_batch, Mapping) and key in data_batch:
            return _joined(data_batch[key])
        if isinstance(data_batch, (list, tuple)) and all(isinstance(s, Mapping) and key in s for s in data_batch):
            return _joined([sample[key] for sample in data_batch])
        raise ConfigError(
            f"TorchMetric found no {key!r} in the predictions (keys: {sorted(map(str, entries[0]))}) nor in the data "
            "batch; return it from forward(mode='predict'), or set pred_key, label_key or more_keys"
        )

    # -- in the end ----------------------------------------------------------------------------------------------------

    def _check_collected(self) -> None:
        """Nothing: ``compute_metrics`` holds the number of samples of all ranks against the dataset's."""

    def gather_results(self, size: int) -> list[Any] | None:
        """The number of samples and the states of each rank, on rank 0; of a single one the state stays where it is."""
        self._size = size
        if data_info()[1] == 1:
            return [(self._n_samples, None)]
        return gather_object((self._n_samples, self._state()), group=data_group()) if has_main() else None

    def _state(self) -> _State:
        return {
            name: {attribute: to_cpu(getattr(part, attribute)) for attribute in part._defaults}
            for name, part in self._parts.items()
        }

    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        """The metric's value over the states of all ranks, as Python numbers."""
        total = sum(n_samples for n_samples, _ in results)
        if self._size is not None and total != self._size or not total:
            raise DataError(
                f"TorchMetric({self.name}) counted {total} predictions for a dataset of {self._size} samples: it needs "
                "one of each. Set drop_last=False and a sampler that visits every sample once, and batched=False if "
                "each dict of predictions is one sample, batched=True if it is a batch"
            )
        used = [(n_samples, state) for n_samples, state in results if n_samples]
        if used[0][1] is not None:
            self._take(used)
        value = self.metric.compute()
        named = value if isinstance(value, Mapping) else {self.name: value}
        return {str(name): _plain(item) for name, item in named.items()}

    def _take(self, used: list[tuple[int, _State]]) -> None:
        """Put the states of several ranks, joined, into the metric; ranks that saw no sample are not among them."""
        counts = [n_samples for n_samples, _ in used]
        for name, part in self._parts.items():
            for attribute, reduction in part._reductions.items():
                states = [state[name][attribute] for _, state in used]
                joined = states[0] if len(states) == 1 else _reduced(states, reduction, counts)
                setattr(part, attribute, _moved(joined, part.device))
            part._update_count, part._computed = max(part._update_count, 1), None

    def discard(self) -> None:
        """Begin anew."""
        super().discard()
        self.metric.reset()
        self._n_samples, self._size, self._is_batch = 0, None, self.batched


def _built(metric: Any, library: Any) -> Any:
    if isinstance(metric, dict):
        if "type" not in metric:
            example = "metric=dict(type='torchmetrics.classification.MulticlassAccuracy', num_classes=10)"
            raise ConfigError(f"TorchMetric: metric has no key 'type', got {metric!r}. Example: {example}")
        built = METRICS.build(metric)
    else:
        built = metric.clone() if isinstance(metric, (library.Metric, library.MetricCollection)) else metric
    if not isinstance(built, (library.Metric, library.MetricCollection)):
        raise ConfigTypeError(
            "TorchMetric: metric must be a metric of torchmetrics or a config of one, got "
            f"{type(built).__name__}: {metric!r}"
        )
    return built


def _not_yours() -> bool:
    """What torchmetrics asks before it exchanges states itself."""
    return False


def _joined(values: Any) -> Any:
    """Tensors and numbers, one a sample, as one tensor; a tensor, and a list that cannot be one, as it is."""
    if not isinstance(values, (list, tuple)):
        return values
    if values and all(isinstance(value, (torch.Tensor, bool, int, float)) for value in values):
        tensors = [torch.as_tensor(value) for value in values]
        if all(tensor.shape == tensors[0].shape for tensor in tensors):
            return torch.stack(tensors)
    return list(values)


def _concatenated(values: list[Any]) -> Any:
    """The parts of a batch that came in several dicts."""
    parts = [_joined(value) for value in values]
    if all(isinstance(part, torch.Tensor) for part in parts):
        return torch.cat(parts)
    return [item for part in parts for item in part]


def _reduced(states: list[Any], reduction: Any, counts: list[int]) -> Any:
    """What torchmetrics makes of the states of several ranks: tensors are stacked and reduced, lists are put together.

    It must stay a list then: the metric empties it again.
    """
    if isinstance(states[0], torch.Tensor):
        stacked = torch.stack(states)
        return stacked if reduction is None else reduction(stacked)
    rows = [_rows(state) for state in states]
    if reduction is not None and [None if part is None else len(part) for part in rows] == counts:
        # A row a sample: in the order in which one process would have met them.
        places = [torch.arange(n_rows) * len(rows) + rank for rank, n_rows in enumerate(counts)]
        return [torch.cat(rows)[torch.cat(places).argsort()]]  # type: ignore[arg-type]
    return [item for state in states for item in state]


def _rows(state: list[Any]) -> torch.Tensor | None:
    is_plain = bool(state) and all(isinstance(item, torch.Tensor) and item.dim() for item in state)
    return torch.cat(state) if is_plain else None


def _moved(state: Any, device: torch.device) -> Any:
    if isinstance(state, torch.Tensor):
        return state.to(device)
    if isinstance(state, (list, tuple)):
        return type(state)(_moved(item, device) for item in state)
    return state


def _plain(value: Any) -> Any:
    """Numbers and lists of them, where there were tensors; this waits for the device."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
