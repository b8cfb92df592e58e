"""Ends training when a metric no longer improves."""

from __future__ import annotations

import warnings
from math import inf, isfinite
from typing import Any, ClassVar

from trainwright.base.errors import ConfigError, ConfigTypeError, MissingMetricError, RuleError
from trainwright.base.text import did_you_mean
from trainwright.engine import Hook
from trainwright.engine.by_hand import by_hand, evaluates_alone, is_run
from trainwright.engine.hook import DATA_BATCH as DATA_BATCH
from trainwright.hooks.metric_rules import GREATER_KEYS, LESS_KEYS, BestRules
from trainwright.registry import HOOKS


@HOOKS.register_module()
class EarlyStoppingHook(Hook):
    """Ends training after ``patience`` validations without an improvement of ``monitor`` by ``min_delta`` at least
    (API of mmengine's EarlyStoppingHook).

    ``rule`` is 'greater' or 'less', by default as the metric's name tells. Training also ends when the metric passes
    ``stopping_threshold``, and with ``check_finite`` when it is NaN or infinite; without, NaN is no improvement. When
    validation does not give the metric, that is an error with ``strict``, otherwise it is warned of. The count and the
    best value go into checkpoints. It ranks before CheckpointHook, whose best file then knows of this validation.
    """

    priority = "LOW"
    _default_greater_keys: ClassVar[tuple[str, ...] | list[str]] = GREATER_KEYS
    _default_less_keys: ClassVar[tuple[str, ...] | list[str]] = LESS_KEYS

    def __init__(
        self,
        monitor: str,
        rule: str | None = None,
        min_delta: float = 0.1,
        strict: bool = False,
        check_finite: bool = True,
        patience: int = 5,
        stopping_threshold: float | None = None,
    ) -> None:
        if not isinstance(monitor, str):
            raise ConfigTypeError(f"EarlyStoppingHook monitor must be a metric's name, but got {monitor!r}.")
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 0:
            raise ConfigError(
                f"EarlyStoppingHook patience must be a number of validations, 0 or more, but got {patience!r}."
            )
        if not 0 <= min_delta < inf:
            raise ConfigError(
                f"EarlyStoppingHook min_delta must be at least 0, whichever way is better, but got {min_delta!r}."
            )
        rules = BestRules(
            tuple(self._default_greater_keys), tuple(self._default_less_keys), type(self).__name__, "monitor"
        )
        self.monitor = monitor
        self.rule = rules.chosen(monitor, rule)
        self.min_delta = min_delta if self.rule == "greater" else -min_delta  # signed, as MMEngine's attribute
        self.strict = strict
        self.check_finite = check_finite
        self.patience = patience
        self.stopping_threshold = stopping_threshold
        self.wait_count = 0
        self.best_score = -inf if self.rule == "greater" else inf
        self._has_warned = False

    @by_hand
    def before_run(self, runner: Any) -> None:
        """Check that the loop can be stopped."""
        loop = runner.train_loop
        if not hasattr(loop, "stop_training"):
            raise RuleError(
                f"EarlyStoppingHook cannot stop {type(loop).__name__}: it has no attribute stop_training. Let the loop "
                "set it to False and end when it is True, or derive it from EpochBasedTrainLoop or IterBasedTrainLoop."
            )

    def before_train(self, runner: Any) -> None:
        """Check that the loop can be stopped; stop it if this is the resume of a training that was stopped."""
        self.before_run(runner)
        limit = self.stopping_threshold
        has_passed = limit is not None and self._is_better(self.best_score, limit)
        if has_passed or self.wait_count >= max(self.patience, 1):
            runner.logger.info(
                "Training was stopped early before, and is not taken up: %s is at %.4g, and did not improve in %d "
                "validations. To train on raise patience=%d, or change stopping_threshold=%s.",
                *(self.monitor, self.best_score, self.wait_count, self.patience, limit),
            )
            runner.train_loop.stop_training = True

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Judge the metric; a validation outside training changes nothing."""
        if evaluates_alone(runner):
            return
        found = metrics or {}
        if self.monitor not in found:
            self._report_missing(runner, list(found))
            return
        stops, reason = self._check_stop_condition(float(found[self.monitor]))
        if stops:
            runner.logger.info("Training is stopped early: %s", reason)
            runner.train_loop.stop_training = True

    def _report_missing(self, runner: Any, names: list[str]) -> None:
        text = (
            f"EarlyStoppingHook monitor={self.monitor!r} is not among the metrics: {', '.join(names) or 'none'}."
            f"{did_you_mean(self.monitor, names)}"
        )
        if self.strict:
            raise MissingMetricError(text)
        if not is_run(runner):
            warnings.warn(f"Skip early stopping process since the evaluation results do not do: {text}", stacklevel=3)
            return
        if not self._has_warned:
            runner.logger.warning("%s Training goes on to its planned end; strict=True makes this an error.", text)
            self._has_warned = True

    def _is_better(self, value: float, than: float) -> bool:
        return value > than if self.rule == "greater" else value < than

    def _check_stop_condition(self, current_score: float) -> tuple[bool, str]:
        """Count a value in: whether training ends with it, and why."""
        if self.check_finite and not isfinite(current_score):
            return True, f"{self.monitor} is {current_score}; its best value was {self.best_score:.4g}."
        limit = self.stopping_threshold
        if limit is not None and self._is_better(current_score, limit):
            self.best_score = current_score
            return True, f"{self.monitor} = {current_score:.4g} is {self.rule} than stopping_threshold={limit}."
        # An improvement by exactly min_delta counts.
        is_worse = self._is_better(self.best_score + self.min_delta, current_score)
        if not is_worse and current_score == current_score:
            self.best_score = current_score
            self.wait_count = 0
            return False, ""
        self.wait_count += 1
        if self.wait_count < self.patience:
            return False, ""
        count = f"{self.wait_count} validation{'s' if self.wait_count > 1 else ''}"
        return True, f"{self.monitor} did not improve in {count}; its best value was {self.best_score:.4g}."

    def state_dict(self) -> dict[str, Any]:
        """The count, and the best value with the metric that it is of."""
        return {"monitor": self.monitor, "wait_count": self.wait_count, "best_score": self.best_score}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting, unless another metric is watched now."""
        if state["monitor"] == self.monitor:
            self.wait_count, self.best_score = state["wait_count"], state["best_score"]
