"""The schedule that waits for a metric: the value falls when validation stops getting better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.logs import print_log
from trainwright.base.text import did_you_mean
from trainwright.optim.param_scheduler import LRSchedulerMixin, MomentumSchedulerMixin, has_base_group
from trainwright.optim.schedule_settings import INF, per_group
from trainwright.optim.table_scheduler import TableScheduler, shell
from trainwright.optim.wrapper import BaseOptimWrapper


class _MissingMetricError(ConfigError, KeyError):
    """The monitored metric is not among those that validation gave."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the repr


@shell("ReduceOnPlateau")
class ReduceOnPlateauParamScheduler(TableScheduler):
    """Multiplies the value by ``factor``, down to ``min_value``, when the metric ``monitor`` has not become better in
    more than ``patience`` validations; waits for ``cooldown`` validations after that.

    ``rule``: whether "less" or "greater" is better. ``threshold``: by how much a value must be better to count, as a
    share of the best one (``threshold_rule="rel"``) or as it is ("abs"). A change that is not larger than ``eps`` is
    left out. ``begin`` and ``end`` count epochs. ``step()`` counts an epoch, ``step(metrics)`` takes the metrics of a
    validation; ParamSchedulerHook calls both.
    """

    need_val_args = True

    monitor: str
    rule: str
    factor: float
    patience: int
    threshold: float
    threshold_rule: str
    cooldown: int
    min_value: float | list[float]
    eps: float

    def _prepare_groups(self, optimizer: BaseOptimWrapper | Optimizer, param_name: str, fresh: bool) -> None:
        n_groups = len(optimizer.param_groups)
        self.min_values = per_group("min_value", self.min_value, n_groups, has_base_group(optimizer))
        self.rule_worse = math.inf if self.rule == "less" else -math.inf
        self.best: float = self.rule_worse
        self.cooldown_counter = 0
        self.num_bad_epochs = 0

    def step(self, metrics: Mapping[str, Any] | None = None) -> None:
        """Without metrics count an epoch; with them, within the span, see whether to reduce."""
        self._meet_new_groups()
        if metrics is None:
            self._global_step += 1
            self._last_value = self._present()
            return
        if not isinstance(metrics, Mapping):
            raise ConfigTypeError(f"step() takes the metrics of a validation as a dict, got {metrics!r}")
        if self.begin <= self._global_step < self.end:
            self.last_step += 1
            self._judge(self._monitored(metrics))
        self._last_value = self._present()

    def _judge(self, metric: float) -> None:
        if self._is_better(metric, self.best):
            self.best = metric
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self._in_cooldown():
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0

    def _reduce(self) -> None:
        groups, present = self.optimizer.param_groups, self._present()
        for index, (group, before, value) in enumerate(zip(groups, present, self._get_value(), strict=False)):
            if before - value > self.eps:
                self._set(group, value)
                self.print_value(self.verbose, index, value)

    def _set(self, group: dict[str, Any], value: float) -> None:
        if isinstance(group[self.param_name], Tensor):
            group[self.param_name].fill_(value)
        else:
            group[self.param_name] = value

    def _get_value(self) -> list[float]:
        reduced = [value * self.schedule.factor(self.last_step, self.factor) for value in self._present()]
        return [max(value, low) for value, low in zip(reduced, self.min_values, strict=True)]

    def _present(self) -> list[float]:
        return [float(group[self.param_name]) for group in self.optimizer.param_groups]

    def _monitored(self, metrics: Mapping[str, Any]) -> float:
        value = metrics.get(self.monitor)
        if value is None:
            names = [str(name) for name in metrics]
            raise _MissingMetricError(
                f"{type(self).__name__} has monitor={self.monitor!r}, which validation did not give: it gave "
                f"{', '.join(names) or 'nothing'}.{did_you_mean(self.monitor, names)}"
            )
        return float(value)

    def _in_cooldown(self) -> bool:
        return self.cooldown_counter > 0

    def _is_better(self, a: float, best: float) -> bool:
        """Whether ``a`` is better than ``best`` by the threshold."""
        sign = -1.0 if self.rule == "less" else 1.0
        limit = best * (1.0 + sign * self.threshold) if self.threshold_rule == "rel" else best + sign * self.threshold
        return a < limit if self.rule == "less" else a > limit

    def _insert_group(self, index: int, group: dict[str, Any]) -> None:
        super()._insert_group(index, group)
        is_list = isinstance(self.min_value, (list, tuple))
        self.min_values.insert(index, self.min_values[-1] if is_list else self.min_value)  # type: ignore[arg-type]

    def print_value(self, is_verbose: bool, group: int, value: float) -> None:
        """Log one group's value and when it was reduced, if asked to."""
        if is_verbose:
            print_log(
                f"{self.param_name} of parameter group {group} is now {float(value):.4e}: {self.monitor} has not "
                f"become better than {self.best:g} (validation {self.last_step})",
                logger="current",
            )

    @classmethod
    def build_iter_from_epoch(
        cls, *args: Any, begin: float = 0, end: float = INF, by_epoch: bool = True, **kwargs: Any
    ) -> Any:
        """Refused: it steps after validation, not after iterations."""
        raise ConfigError(
            f"{cls.__name__} steps after validation and cannot count iterations: take convert_to_iter_based out"
        )


@shell("ReduceOnPlateau")
class ReduceOnPlateauLR(LRSchedulerMixin, ReduceOnPlateauParamScheduler):
    """:class:`ReduceOnPlateauParamScheduler` of the learning rate."""


@shell("ReduceOnPlateau")
class ReduceOnPlateauMomentum(MomentumSchedulerMixin, ReduceOnPlateauParamScheduler):
    """:class:`ReduceOnPlateauParamScheduler` of the momentum."""
