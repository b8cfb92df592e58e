"""Which value of a metric is the better one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from trainwright.base.errors import ConfigError, ConfigKeyError
from trainwright.base.text import did_you_mean

GREATER_KEYS = ("acc", "top", "AR@", "auc", "precision", "mAP", "mDice", "mIoU", "mAcc", "aAcc")
LESS_KEYS = ("loss",)
Rule = Literal["greater", "less"]


@dataclass
class Best:
    """The best value of one metric so far and the file that holds it; ``entries`` has further good ones, the best
    first, where more than one is kept."""

    metric: str
    rule: Rule
    score: float | None = None
    path: str | None = None
    entries: list[tuple[float, str]] = field(default_factory=list)

    def improves(self, value: float) -> bool:
        """Whether ``value`` beats the best; NaN never does."""
        if self.score is None:
            return value == value
        return value > self.score if self.rule == "greater" else value < self.score


@dataclass
class BestRules:
    """How a metric's name tells whether more is better; ``owner`` and ``setting`` are who asks, for errors."""

    greater: tuple[str, ...] = GREATER_KEYS
    less: tuple[str, ...] = LESS_KEYS
    owner: str = "CheckpointHook"
    setting: str = "save_best"

    def infer(self, metric: str) -> Rule:
        """By the whole name, then by a part of the last part of ``set/metric/name``, then by a part of the whole."""
        whole, last = metric.lower(), metric.rpartition("/")[-1].lower()
        greater, less = [k.lower() for k in self.greater], [k.lower() for k in self.less]
        if whole in greater or whole in less:
            return "greater" if whole in greater else "less"
        for name in (last, whole):
            if name not in less and any(key in name for key in greater):
                return "greater"
            if any(key in name for key in less):
                return "less"
        raise ConfigError(
            f"{self.owner} cannot tell from its name whether more or less of {self.setting}={metric!r} is better. Say "
            "so: rule='greater' or rule='less'."
        )

    def chosen(self, metric: str, rule: Any) -> Rule:
        """``rule`` where one is given, else what the name tells."""
        if rule is None:
            return self.infer(metric)
        if rule == "greater" or rule == "less":
            return rule  # type: ignore[no-any-return]
        raise ConfigKeyError(
            f"{self.owner} rule must be 'greater' or 'less', but got {rule!r}."
            f"{did_you_mean(str(rule), ['greater', 'less'])}"
        )
