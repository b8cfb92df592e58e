"""CheckpointHook with a runner of another kind: what MMEngine's hook does with its plain attributes."""

from __future__ import annotations

import operator
import os
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

from trainwright.base.errors import MissingMetricError
from trainwright.base.text import did_you_mean
from trainwright.dist import is_main_process
from trainwright.hooks.metric_rules import Best
from trainwright.hooks.storage import HasStorage


class PlainNames(HasStorage):
    """Names that MMEngine's CheckpointHook has besides."""

    rule_map: ClassVar[dict[str, Callable[[Any, Any], bool]]] = {"greater": operator.gt, "less": operator.lt}
    init_value_map: ClassVar[dict[str, float]] = {"greater": -float("inf"), "less": float("inf")}
    bests: list[Best]
    _given_rules: list[Any]
    _plain: PlainSaves | None = None

    @property
    def save_best(self) -> list[str] | None:
        """The metrics of the best checkpoints."""
        return [best.metric for best in self.bests] or None

    key_indicators = save_best

    @property
    def rules(self) -> list[Any]:
        """For each metric whether 'greater' or 'less' is better; what was given, as long as the metric is 'auto'."""
        if [best.metric for best in self.bests] == ["auto"]:
            return list(self._given_rules)
        return [best.rule for best in self.bests]

    @property
    def is_better_than(self) -> dict[str, Callable[[Any, Any], bool]]:
        """For each metric whether the first of two values is the better one."""
        return {best.metric: self.rule_map[best.rule] for best in self.bests}

    @property
    def best_ckpt_path(self) -> str | None:
        """The best checkpoint by the only metric."""
        return self.bests[0].path if len(self.bests) == 1 else None

    @property
    def best_ckpt_path_dict(self) -> dict[str, str | None]:
        """The best checkpoint by each of several metrics."""
        return {best.metric: best.path for best in self.bests} if len(self.bests) > 1 else {}


class PlainSaves:
    """Saves through ``runner.save_checkpoint``, and has the lists in ``runner.message_hub``."""

    def __init__(self, hook: Any, runner: Any) -> None:
        self.hook = hook
        hub, limit = runner.message_hub, hook.max_keep_ckpts
        for best in hook.bests:
            best.path = hub.get_info(_key("best_ckpt", hook, best), None)
        kept = list(hub.get_info("keep_ckpt_ids", None) or []) if limit > 0 else []
        while len(kept) > limit > 0:
            self._delete(self._path(hook.filename_tmpl.format(kept.pop(0))))
        self.kept: deque[int] = deque(kept, limit if limit > 0 else None)

    def _path(self, name: str) -> str:
        return str(self.hook.file_backend.join_path(self.hook.out_dir, name))

    def _delete(self, path: str) -> None:
        backend = self.hook.file_backend
        if is_main_process() and backend.isfile(path):
            backend.remove(path)
        elif is_main_process() and backend.isdir(path):
            backend.rmtree(path)

    def save(self, runner: Any) -> None:
        """After the running epoch or iteration."""
        epoch, iteration = (runner.epoch + 1, runner.iter) if self.hook.by_epoch else (runner.epoch, runner.iter + 1)
        self._save(runner, epoch if self.hook.by_epoch else iteration, {"epoch": epoch, "iter": iteration})

    def _save(self, runner: Any, number: int, meta: dict[str, Any]) -> None:
        hook, outdated = self.hook, None
        if hook.max_keep_ckpts > 0 and (not self.kept or self.kept[-1] != number):
            if len(self.kept) == hook.max_keep_ckpts:
                outdated = self._path(hook.filename_tmpl.format(self.kept.popleft()))
            self.kept.append(number)
            runner.message_hub.update_info("keep_ckpt_ids", list(self.kept))
        name = hook.filename_tmpl.format(number)
        hook.last_ckpt = self._path(name)
        runner.message_hub.update_info("last_ckpt", hook.last_ckpt)
        runner.save_checkpoint(
            hook.out_dir,
            name,
            hook.file_client_args,
            save_optimizer=hook.save_optimizer,
            save_param_scheduler=hook.save_param_scheduler,
            meta=meta,
            by_epoch=hook.by_epoch,
            backend_args=hook.backend_args,
        )
        if is_main_process():
            with open(os.path.join(runner.work_dir, "last_checkpoint"), "w") as file:
                file.write(hook.last_ckpt)
        if outdated is not None:  # only now: the new one is there
            self._delete(outdated)

    def save_bests(self, runner: Any, metrics: dict[str, Any]) -> None:
        """After a validation: those by metrics that are better than ever, then the last one again, which knows."""
        hook = self.hook
        number = runner.epoch if hook.by_epoch else runner.iter
        meta = {"epoch": runner.epoch, "iter": runner.iter}
        found = [self._save_best(runner, best, metrics, number, meta) for best in hook.bests]
        if any(found) and hook.last_ckpt is not None:
            self._save(runner, number, meta)

    def _save_best(self, runner: Any, best: Best, metrics: dict[str, Any], number: int, meta: dict[str, Any]) -> bool:
        hook, hub = self.hook, runner.message_hub
        if best.metric not in metrics:
            raise MissingMetricError(
                f"CheckpointHook save_best={best.metric!r} is not among the metrics: {', '.join(metrics)}."
                f"{did_you_mean(best.metric, metrics)}"
            )
        value, key = metrics[best.metric], _key("best_score", hook, best)
        if value is None or not hook.is_better_than[best.metric](
            value, hub.get_info(key, hook.init_value_map[best.rule])
        ):
            return False
        hub.update_info(key, value)
        outdated = best.path
        name = f"best_{best.metric}_{hook.filename_tmpl.format(number)}".replace("/", "_")
        best.score, best.path = value, self._path(name)
        hub.update_info(_key("best_ckpt", hook, best), best.path)
        runner.save_checkpoint(
            hook.out_dir,
            filename=name,
            file_client_args=hook.file_client_args,
            save_optimizer=False,
            save_param_scheduler=False,
            meta=meta,
            by_epoch=False,
            backend_args=hook.backend_args,
        )
        if outdated and outdated != best.path:
            self._delete(outdated)
        when = (number, "epoch" if hook.by_epoch else "iter")
        text = "The best checkpoint with %0.4f %s at %d %s is saved to %s."
        runner.logger.info(text, value, best.metric, *when, name)
        return True


def _key(name: str, hook: Any, best: Best) -> str:
    return name if len(hook.bests) == 1 else f"{name}_{best.metric}"
