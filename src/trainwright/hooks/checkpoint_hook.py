"""Saves checkpoints: regularly, at the end, and the best by a metric."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Literal

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.text import did_you_mean
from trainwright.engine import NEVER, Hook
from trainwright.registry import HOOKS
from trainwright.state import Clock

GREATER_KEYS = ("acc", "top", "AR@", "auc", "precision", "mAP", "mDice", "mIoU", "mAcc", "aAcc")
LESS_KEYS = ("loss",)
Rule = Literal["greater", "less"]


@dataclass
class Best:
    """The best value of one metric so far and the file that holds it."""

    metric: str
    rule: Rule
    score: float | None = None
    path: str | None = None

    def improves(self, value: float) -> bool:
        """Whether ``value`` beats the best; NaN never does."""
        if self.score is None:
            return value == value
        return value > self.score if self.rule == "greater" else value < self.score


@dataclass
class BestRules:
    """How a metric's name tells whether more is better."""

    greater: tuple[str, ...] = GREATER_KEYS
    less: tuple[str, ...] = LESS_KEYS

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
            f"CheckpointHook cannot tell from its name whether more or less of save_best={metric!r} is better. Say so: "
            "rule='greater' or rule='less'."
        )


@dataclass
class Retention:
    """The regular checkpoints on disk, oldest first."""

    max_keep: int
    saved: list[str] = field(default_factory=list)

    def add(self, path: str) -> list[str]:
        """Count a published checkpoint in; returns those that must go now."""
        if path in self.saved:
            self.saved.remove(path)
        self.saved.append(path)
        n_over = len(self.saved) - self.max_keep if self.max_keep > 0 else 0
        gone, self.saved = self.saved[: max(n_over, 0)], self.saved[max(n_over, 0) :]
        return gone


@HOOKS.register_module()
class CheckpointHook(Hook):
    """Saves every ``interval`` epochs (``by_epoch``) or iterations from ``save_begin`` on, and at the end when
    ``save_last``; keeps ``max_keep_ckpts`` of them (-1: all); for each metric of ``save_best`` (a name, a list, or
    'auto' for the first one) the best one so far, as ``best_<metric>_<name>`` (API of mmengine's CheckpointHook).

    Order of a save: logged losses are read and must be finite, the new file is published durably, the hint file is
    moved to it, and only then old files are deleted. ``rule``, ``greater_keys`` and ``less_keys`` say when a metric is
    better. ``filename_tmpl`` has one ``{}`` for the number. The kept list and the best values go into checkpoints, so
    they continue after a resume.
    """

    priority = "VERY_LOW"
    out_dir: str

    def __init__(
        self,
        interval: int = -1,
        by_epoch: bool = True,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        out_dir: str | os.PathLike[str] | None = None,
        max_keep_ckpts: int = -1,
        save_last: bool = True,
        save_best: str | list[str] | None = None,
        rule: str | list[str] | None = None,
        greater_keys: tuple[str, ...] | list[str] | None = None,
        less_keys: tuple[str, ...] | list[str] | None = None,
        filename_tmpl: str | None = None,
        save_begin: int = 0,
    ) -> None:
        if isinstance(interval, bool) or not isinstance(interval, int):
            raise ConfigTypeError(f"CheckpointHook interval must be a whole number, but got {interval!r}.")
        if save_begin < 0:
            raise ConfigError(f"CheckpointHook save_begin must be at least 0, but got {save_begin}.")
        if max_keep_ckpts == 0:
            raise ConfigError("CheckpointHook max_keep_ckpts=0 would keep nothing; use -1 to keep all, or 1 or more.")
        self.interval = interval
        self.by_epoch = by_epoch
        self.save_optimizer = save_optimizer
        self.save_param_scheduler = save_param_scheduler
        self._wished_out_dir = None if out_dir is None else os.fspath(out_dir)
        self.save_last = save_last
        self.save_begin = save_begin
        self.filename_tmpl = filename_tmpl or ("epoch_{}.pth" if by_epoch else "iter_{}.pth")
        self.retention = Retention(max_keep_ckpts)
        self.rules = BestRules(tuple(greater_keys or GREATER_KEYS), tuple(less_keys or LESS_KEYS))
        self.bests = self._make_bests(save_best, rule)
        self.auto_best = save_best == "auto"
        self.last_ckpt: str | None = None

    def _make_bests(self, save_best: Any, rule: Any) -> list[Best]:
        if save_best is None:
            return []
        names = list(save_best) if isinstance(save_best, (list, tuple)) else [save_best]
        if not all(isinstance(name, str) for name in names):
            raise ConfigTypeError(f"CheckpointHook save_best must be a metric's name or a list of them: {save_best!r}.")
        if "auto" in names and len(names) > 1:
            raise ConfigError("CheckpointHook save_best='auto' stands for the first metric and goes with no other.")
        rules: list[Any] = [rule] * len(names) if rule is None or isinstance(rule, str) else list(rule)
        for item in rules:
            if item not in (None, "greater", "less"):
                raise ConfigError(
                    f"CheckpointHook rule must be 'greater' or 'less', but got {item!r}."
                    f"{did_you_mean(str(item), ['greater', 'less'])}"
                )
        if len(rules) != len(names):
            raise ConfigError(f"CheckpointHook has {len(names)} metrics in save_best and {len(rules)} in rule.")
        return [
            Best(name, item or ("greater" if name == "auto" else self.rules.infer(name)))
            for name, item in zip(names, rules, strict=True)
        ]

    def before_train(self, runner: Any) -> None:
        """Settle the folder and clear away what a killed save left there."""
        self.out_dir = self._wished_out_dir or runner.work_dir
        runner.checkpoints(self.out_dir).sweep()

    def after_train_epoch(self, runner: Any) -> None:
        """Save by epoch."""
        if not self.by_epoch:
            return
        due = self.every_n_epochs(runner, self.interval, self.save_begin)
        if due or (self.save_last and self.is_last_train_epoch(runner)):
            runner.logger.info("Saving checkpoint at %d epochs", runner.epoch + 1)
            self._save_regular(runner, self.filename_tmpl.format(runner.epoch + 1))

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Save by iteration."""
        if self.by_epoch:
            return
        due = self.every_n_train_iters(runner, self.interval, self.save_begin)
        if due or (self.save_last and self.is_last_train_iter(runner)):
            runner.logger.info("Saving checkpoint at %d iterations", runner.iter + 1)
            self._save_regular(runner, self.filename_tmpl.format(runner.iter + 1))

    def next_train_iter(self, runner: Any) -> int | None:
        """The next regular save, or the last iteration; never when saving goes by epoch."""
        if self.by_epoch:
            return NEVER
        clock: Clock = runner.ctx.clock
        last = NEVER if clock.max_iters is None or not self.save_last else clock.max_iters - 1
        if self.interval <= 0:
            return max(last, clock.iter)
        n_since = max(clock.iter - self.save_begin, 0)
        return max(min(self.save_begin + (n_since // self.interval + 1) * self.interval - 1, last), clock.iter)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Save the best; not after a validation outside training."""
        if not self.bests or not metrics or not runner.is_training:
            return
        if self.auto_best and self.bests[0].metric == "auto":
            metric = next(iter(metrics))
            self.bests = [Best(metric, self.rules.infer(metric))]
        for best in self.bests:
            if best.metric not in metrics:
                raise ConfigError(
                    f"CheckpointHook save_best={best.metric!r} is not among the metrics: {', '.join(metrics)}."
                    f"{did_you_mean(best.metric, metrics)}"
                )
            self._save_best(runner, best, float(metrics[best.metric]))

    def save_now(self, runner: Any) -> str:
        """Save where the run stands, between two iterations, under the number of finished iterations."""
        return self._save_regular(runner, f"iter_{runner.ctx.clock.as_completed().iter}.pth")

    def _save(self, runner: Any, name: str) -> str:
        return str(
            runner.save_checkpoint(
                self.out_dir,
                name,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                by_epoch=self.by_epoch,
            )
        )

    def _save_regular(self, runner: Any, name: str) -> str:
        # The hook's own state goes into the file too, so the new file is counted in before it is written. What must go
        # is deleted only after the file is durable and the hint points to it.
        path = os.path.join(self.out_dir, name)
        before, last = list(self.retention.saved), self.last_ckpt
        gone = self.retention.add(path)
        self.last_ckpt = path
        self._mirror(runner)
        try:
            self._save(runner, name)
        except BaseException:
            self.retention.saved, self.last_ckpt = before, last
            self._mirror(runner)
            raise
        manager = runner.checkpoints(self.out_dir)
        manager.point_to(path, runner.work_dir)
        for old in gone:
            if self._is_own(old):
                manager.remove(old)
        return path

    def _is_own(self, path: str) -> bool:
        """Whether ``path`` lies in this run's folder: one resumed from elsewhere leaves what it came from alone."""
        return os.path.realpath(os.path.dirname(path)) == os.path.realpath(self.out_dir)

    def _save_best(self, runner: Any, best: Best, value: float) -> None:
        if not best.improves(value):
            return
        progress = runner.ctx.clock.as_completed()
        regular = self.filename_tmpl.format(progress.epoch if self.by_epoch else progress.iter)
        name = f"best_{best.metric.replace('/', '_')}_{regular}"
        path, old, old_score = os.path.join(self.out_dir, name), best.path, best.score
        best.score, best.path = value, path
        self._mirror(runner)
        try:
            self._save(runner, name)
        except BaseException:
            best.score, best.path = old_score, old
            self._mirror(runner)
            raise
        if old is not None and old != path and self._is_own(old):
            runner.checkpoints(self.out_dir).remove(old)
        runner.logger.info("The best checkpoint with %.4f %s is saved to %s.", value, best.metric, name)

    def _mirror(self, runner: Any) -> None:
        """MMEngine's names in the message hub."""
        hub = runner.ctx.hub
        hub.update_info("last_ckpt", self.last_ckpt)
        hub.update_info("keep_ckpt_ids", list(self.retention.saved))
        for best in self.bests:
            suffix = "" if len(self.bests) == 1 else f"_{best.metric}"
            hub.update_info(f"best_score{suffix}", best.score)
            hub.update_info(f"best_ckpt{suffix}", best.path)

    def state_dict(self) -> dict[str, Any]:
        """Kept files, newest file, best values."""
        return {
            "saved": list(self.retention.saved),
            "last_ckpt": self.last_ckpt,
            "bests": [{"metric": b.metric, "rule": b.rule, "score": b.score, "path": b.path} for b in self.bests],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue the kept list and the best values of the metrics that are still asked for."""
        self.retention.saved = list(state["saved"])
        self.last_ckpt = state["last_ckpt"]
        saved = {item["metric"]: Best(**item) for item in state["bests"]}
        if self.auto_best:
            self.bests = list(saved.values()) or self.bests
        else:
            self.bests = [saved.get(best.metric, best) for best in self.bests]
