"""The schedulers by name: thin shells over the table of :mod:`trainwright.optim.schedules`, three names a row."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer

from trainwright.optim.param_scheduler import LRSchedulerMixin, MomentumSchedulerMixin, has_base_group
from trainwright.optim.schedule_settings import per_group
from trainwright.optim.table_scheduler import TableScheduler, shell
from trainwright.optim.wrapper import BaseOptimWrapper


def _put_ends(group: dict[str, Any], name: str, first: float, largest: float, last: float) -> None:
    group.update({f"initial_{name}": first, f"max_{name}": largest, f"min_{name}": last})


@shell("Constant")
class ConstantParamScheduler(TableScheduler):
    """``factor`` times the value, and the full value at the last step in the span."""


@shell("Constant")
class ConstantLR(LRSchedulerMixin, ConstantParamScheduler):
    """:class:`ConstantParamScheduler` of the learning rate."""


@shell("Constant")
class ConstantMomentum(MomentumSchedulerMixin, ConstantParamScheduler):
    """:class:`ConstantParamScheduler` of the momentum."""


@shell("Linear")
class LinearParamScheduler(TableScheduler):
    """A straight line from ``start_factor`` to ``end_factor`` times the value, reached at the last step in the span."""


@shell("Linear")
class LinearLR(LRSchedulerMixin, LinearParamScheduler):
    """:class:`LinearParamScheduler` of the learning rate."""


@shell("Linear")
class LinearMomentum(MomentumSchedulerMixin, LinearParamScheduler):
    """:class:`LinearParamScheduler` of the momentum."""


@shell("Exponential")
class ExponentialParamScheduler(TableScheduler):
    """Multiplies the value by ``gamma`` in every step."""


@shell("Exponential")
class ExponentialLR(LRSchedulerMixin, ExponentialParamScheduler):
    """:class:`ExponentialParamScheduler` of the learning rate."""


@shell("Exponential")
class ExponentialMomentum(MomentumSchedulerMixin, ExponentialParamScheduler):
    """:class:`ExponentialParamScheduler` of the momentum."""


@shell("Step")
class StepParamScheduler(TableScheduler):
    """Multiplies the value by ``gamma`` after each ``step_size`` steps, counted from ``begin``."""


@shell("Step")
class StepLR(LRSchedulerMixin, StepParamScheduler):
    """:class:`StepParamScheduler` of the learning rate."""


@shell("Step")
class StepMomentum(MomentumSchedulerMixin, StepParamScheduler):
    """:class:`StepParamScheduler` of the momentum."""


@shell("MultiStep")
class MultiStepParamScheduler(TableScheduler):
    """Multiplies the value by ``gamma`` at each of the ``milestones``, counted from ``begin``."""


@shell("MultiStep")
class MultiStepLR(LRSchedulerMixin, MultiStepParamScheduler):
    """:class:`MultiStepParamScheduler` of the learning rate."""


@shell("MultiStep")
class MultiStepMomentum(MomentumSchedulerMixin, MultiStepParamScheduler):
    """:class:`MultiStepParamScheduler` of the momentum."""


@shell("CosineAnnealing")
class CosineAnnealingParamScheduler(TableScheduler):
    """Half a cosine from the value down to ``eta_min``, or ``eta_min_ratio`` times the initial one, in ``T_max`` steps.

    ``T_max`` is ``end - begin`` if left out. Steps beyond it follow the cosine up again, to the initial value.
    """


@shell("CosineAnnealing")
class CosineAnnealingLR(LRSchedulerMixin, CosineAnnealingParamScheduler):
    """:class:`CosineAnnealingParamScheduler` of the learning rate."""


@shell("CosineAnnealing")
class CosineAnnealingMomentum(MomentumSchedulerMixin, CosineAnnealingParamScheduler):
    """:class:`CosineAnnealingParamScheduler` of the momentum."""


@shell("Poly")
class PolyParamScheduler(TableScheduler):
    """From the value down to ``eta_min`` by ``(1 - share of the span) ** power``, reached at the last step in it."""


@shell("Poly")
class PolyLR(LRSchedulerMixin, PolyParamScheduler):
    """:class:`PolyParamScheduler` of the learning rate."""


@shell("Poly")
class PolyMomentum(MomentumSchedulerMixin, PolyParamScheduler):
    """:class:`PolyParamScheduler` of the momentum."""


@shell("OneCycle")
class OneCycleParamScheduler(TableScheduler):
    """Up from ``eta_max / div_factor`` to ``eta_max`` in ``pct_start`` of the steps, and down to the first value
    divided by ``final_div_factor`` in the rest (Smith and Topin, 2017); ``three_phase`` comes down as it went up first.

    ``total_steps`` is ``end - begin`` if left out. It sets the value: what the optimizer began with, and what other
    schedulers do in its span, has no effect. Each group gets its ``eta_max`` as ``max_<name>``, and the ends of the
    cycle as ``initial_<name>`` and ``min_<name>``.
    """

    eta_max: float | Sequence[float]
    div_factor: float
    final_div_factor: float

    def _prepare_groups(self, optimizer: BaseOptimWrapper | Optimizer, param_name: str, fresh: bool) -> None:
        groups = optimizer.param_groups
        peaks = per_group("eta_max", self.eta_max, len(groups), has_base_group(optimizer))
        for group, peak in zip(groups, peaks, strict=True) if fresh else ():
            _put_ends(group, param_name, peak / self.div_factor, peak, peak / self.div_factor / self.final_div_factor)

    def _insert_group(self, index: int, group: dict[str, Any]) -> None:
        peak: Any = self.eta_max[-1] if isinstance(self.eta_max, (list, tuple)) else self.eta_max
        first = peak / self.div_factor
        _put_ends(group, self.param_name, first, peak, first / self.final_div_factor)
        super()._insert_group(index, group)


@shell("OneCycle")
class OneCycleLR(LRSchedulerMixin, OneCycleParamScheduler):
    """:class:`OneCycleParamScheduler` of the learning rate."""


@shell("OneCycleMomentum")
class OneCycleMomentum(MomentumSchedulerMixin, TableScheduler):
    """The momentum beside a :class:`OneCycleLR`: from ``eta_max`` down to ``eta_min`` while the learning rate rises,
    and up again. It sets the value.
    """

    eta_max: float
    eta_min: float

    def _prepare_groups(self, optimizer: BaseOptimWrapper | Optimizer, param_name: str, fresh: bool) -> None:
        for group in optimizer.param_groups if fresh else ():
            _put_ends(group, param_name, self.eta_max, self.eta_max, self.eta_min)

    def _insert_group(self, index: int, group: dict[str, Any]) -> None:
        _put_ends(group, self.param_name, self.eta_max, self.eta_max, self.eta_min)
        super()._insert_group(index, group)


@shell("CosineRestart")
class CosineRestartParamScheduler(TableScheduler):
    """A cosine from ``restart_weights`` times the initial value down to ``eta_min``, or ``eta_min_ratio`` times the
    initial one, over each of the ``periods`` in turn; after the last the value stays.

    Each period sets the value it begins with.
    """

    @staticmethod
    def get_position_from_periods(iteration: int, cumulative_periods: Sequence[int]) -> int | None:
        """The number of the period that ``iteration`` is in, by the steps at which each ends; None behind the last."""
        position = bisect_right(cumulative_periods, iteration)
        return position if position < len(cumulative_periods) else None


@shell("CosineRestart")
class CosineRestartLR(LRSchedulerMixin, CosineRestartParamScheduler):
    """:class:`CosineRestartParamScheduler` of the learning rate."""


@shell("CosineRestart")
class CosineRestartMomentum(MomentumSchedulerMixin, CosineRestartParamScheduler):
    """:class:`CosineRestartParamScheduler` of the momentum."""


@shell("WarmupStableDecay")
class WarmupStableDecayParamScheduler(TableScheduler):
    """A straight warm-up from ``start_factor`` in ``warmup_steps``, the full value, and a fall towards ``end_factor``
    in the last ``decay_steps`` of the span (WSD; Hu et al., 2024), all as shares of the value.

    ``decay_type``: "linear", "cosine" or "1-sqrt". The first of the ``decay_steps`` still has the full value, and the
    step behind the last would have ``end_factor``, so that no step is spent at 0.
    """


@shell("WarmupStableDecay")
class WarmupStableDecayLR(LRSchedulerMixin, WarmupStableDecayParamScheduler):
    """:class:`WarmupStableDecayParamScheduler` of the learning rate."""


@shell("WarmupStableDecay")
class WarmupStableDecayMomentum(MomentumSchedulerMixin, WarmupStableDecayParamScheduler):
    """:class:`WarmupStableDecayParamScheduler` of the momentum."""
