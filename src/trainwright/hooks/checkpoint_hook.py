"""Saves checkpoints: regularly, at the end, and the best by a metric."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from logging import WARNING
from typing import Any, ClassVar

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.logs import print_log
from trainwright.base.text import did_you_mean
from trainwright.dist import is_main_process
from trainwright.engine import NEVER, Hook
from trainwright.hooks.metric_rules import GREATER_KEYS, LESS_KEYS, Best, BestRules
from trainwright.io import is_url
from trainwright.registry import HOOKS
from trainwright.state import Clock

_LOCAL = (None, "local", "LocalBackend", "disk", "HardDiskBackend")


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
    ``save_last``, also where a validation ends training early; keeps ``max_keep_ckpts`` of them (-1: all); for each
    metric of ``save_best`` (a name, a list, or 'auto' for the first one) the best one so far, as
    ``best_<metric>_<name>`` (API of mmengine's CheckpointHook).

    Order of a save: logged losses are read and must be finite, the new file is published durably, the hint file is
    moved to it, and only then old files are deleted. ``rule``, ``greater_keys`` and ``less_keys`` say when a metric is
    better. ``filename_tmpl`` has one ``{}`` for the number. The kept list and the best values go into checkpoints, so
    they continue after a resume.

    Files lie in ``work_dir``, or in the folder of its name inside ``out_dir``: a local one, which is all that
    ``backend_args`` and ``file_client_args`` may say. After training the last file (with ``save_last``) and the best
    ones are copied with the ``published_keys`` only, and the beginning of the copy's sha256 in its name.
    """

    priority = "VERY_LOW"
    rewinds = False  # files on disk stay
    out_dir: str
    _default_greater_keys: ClassVar[tuple[str, ...] | list[str]] = GREATER_KEYS
    _default_less_keys: ClassVar[tuple[str, ...] | list[str]] = LESS_KEYS

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
        greater_keys: str | tuple[str, ...] | list[str] | None = None,
        less_keys: str | tuple[str, ...] | list[str] | None = None,
        file_client_args: dict[str, Any] | None = None,
        filename_tmpl: str | None = None,
        backend_args: dict[str, Any] | None = None,
        published_keys: str | tuple[str, ...] | list[str] | None = None,
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
        _check_storage(self._wished_out_dir, backend_args, file_client_args)
        self.save_last = save_last
        self.save_begin = save_begin
        self.filename_tmpl = _checked_template(filename_tmpl or ("epoch_{}.pth" if by_epoch else "iter_{}.pth"))
        self.retention = Retention(max_keep_ckpts)
        self.greater_keys = _names("greater_keys", greater_keys) or tuple(self._default_greater_keys)
        self.less_keys = _names("less_keys", less_keys) or tuple(self._default_less_keys)
        self._best_rules = BestRules(self.greater_keys, self.less_keys)
        self.bests = self._make_bests(save_best, rule)
        self.auto_best = [best.metric for best in self.bests] == ["auto"]
        self.published_keys = _names("published_keys", published_keys)
        self.last_ckpt: str | None = None

    def _make_bests(self, save_best: Any, rule: Any) -> list[Best]:
        names = _names("save_best", save_best) or ()
        if "auto" in names and len(names) > 1:
            raise ConfigError("CheckpointHook save_best='auto' stands for the first metric and goes with no other.")
        rules: list[Any] = list(rule) if isinstance(rule, (list, tuple)) else [rule]
        if len(rules) == 1:
            rules *= max(len(names), 1)
        if names and len(rules) != len(names):
            raise ConfigError(f"CheckpointHook has {len(names)} metrics in save_best and {len(rules)} in rule.")
        # The rule of 'auto' is known with its metric, unless it is given.
        self.rules = rules
        return [
            Best(name, self._best_rules.chosen(name, item or ("greater" if name == "auto" else None)))
            for name, item in zip(names, rules, strict=False)
        ]

    @property
    def save_best(self) -> list[str] | None:
        """The metrics of the best checkpoints."""
        return [best.metric for best in self.bests] or None

    key_indicators = save_best

    @property
    def max_keep_ckpts(self) -> int:
        """How many regular checkpoints are kept."""
        return self.retention.max_keep

    @property
    def best_ckpt_path(self) -> str | None:
        """The best checkpoint by the only metric."""
        return self.bests[0].path if len(self.bests) == 1 else None

    @property
    def best_ckpt_path_dict(self) -> dict[str, str | None]:
        """The best checkpoint by each of several metrics."""
        return {best.metric: best.path for best in self.bests} if len(self.bests) > 1 else {}

    def before_train(self, runner: Any) -> None:
        """Settle the folder and clear away what a killed save left there."""
        self.out_dir = runner.work_dir
        if self._wished_out_dir is not None and not _is_same(self._wished_out_dir, runner.work_dir):
            self.out_dir = os.path.join(self._wished_out_dir, os.path.basename(os.path.abspath(runner.work_dir)))
        runner.checkpoints(self.out_dir).sweep(self.filename_tmpl.format(0))
        if self.published_keys and not self.save_last and not self.bests:
            runner.logger.warning("CheckpointHook published_keys has no effect without save_last=True or save_best.")

    def rewound(self, runner: Any) -> None:
        """Say in the message hub again what is there."""
        if self.last_ckpt is not None or any(best.path is not None for best in self.bests):
            self._mirror(runner)

    def after_train(self, runner: Any) -> None:
        """Publish the last and the best; not when training will be taken up again."""
        if not self.published_keys or runner.ctx.stop.interrupts or not is_main_process():
            return
        last = [self.last_ckpt] if self.save_last else []
        for path in dict.fromkeys([*last, *(best.path for best in self.bests)]):
            if path is not None and self._is_own(path):
                self._publish_model(runner, path)

    def _publish_model(self, runner: Any, ckpt_path: str) -> None:
        """Copy ``published_keys`` of a checkpoint into a file beside it."""
        wished = self.published_keys or ()
        if not os.path.isfile(ckpt_path):
            runner.logger.warning("%s is not published: it is gone.", ckpt_path)
            return
        done = runner.checkpoints(self.out_dir).publish(ckpt_path, wished)
        for key in done.missing:
            hint = did_you_mean(key, done.left_out)
            runner.logger.warning("published_keys has %r, which %s does not have.%s", key, ckpt_path, hint)
        left_out = f", without {', '.join(done.left_out)}" if done.left_out else ""
        runner.logger.info("The checkpoint %s is published as %s%s.", ckpt_path, done.path, left_out)

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
        n_since = max(clock.iter + 1 - self.save_begin, 0)
        n_intervals = -(-n_since // self.interval)
        return max(min(self.save_begin + n_intervals * self.interval - 1, last), clock.iter)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Save the best, and the last where this validation ends training; nothing after one outside training."""
        if not runner.is_training:
            return
        if self.bests and not metrics:
            runner.logger.warning("validation gave no metric: CheckpointHook save_best has nothing to compare.")
        if self.bests and metrics:
            self._save_bests(runner, metrics)
        self._save_early_last(runner)

    def _save_early_last(self, runner: Any) -> None:
        stop, progress = runner.ctx.stop, runner.ctx.clock.as_completed()
        if not self.save_last or not stop.requested or stop.interrupts or (self.by_epoch and not runner.by_epoch):
            return
        name = self.filename_tmpl.format(progress.epoch if self.by_epoch else progress.iter)
        if self.last_ckpt != os.path.join(self.out_dir, name):
            runner.logger.info("Saving checkpoint where training is stopped early")
            self._save_regular(runner, name)

    def _save_bests(self, runner: Any, metrics: dict[str, float]) -> None:
        if self.auto_best and self.bests[0].metric == "auto":
            metric = next(iter(metrics))
            self.bests = [Best(metric, self._best_rules.chosen(metric, self.rules[0]))]
        for best in self.bests:
            if best.metric not in metrics:
                raise ConfigError(
                    f"CheckpointHook save_best={best.metric!r} is not among the metrics: {', '.join(metrics)}."
                    f"{did_you_mean(best.metric, metrics)}"
                )
            value = metrics[best.metric]
            if value is not None:
                self._save_best(runner, best, float(value))

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
            if best.path is not None:
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


def _names(setting: str, given: Any) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = (given,) if isinstance(given, str) else given
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        what = "a metric's name" if setting == "save_best" else "a name"
        raise ConfigTypeError(f"CheckpointHook {setting} must be {what} or a list of them: {given!r}.")
    names = tuple(names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"CheckpointHook {setting} names {', '.join(map(repr, twice))} more than once.")
    return names


def _is_same(one: str, other: str) -> bool:
    return os.path.abspath(one) == os.path.abspath(other)


def _checked_template(template: str) -> str:
    try:
        has_place = template.format(1) != template.format(2)
    except (IndexError, KeyError, ValueError):
        has_place = False
    if not has_place:
        raise ConfigError(f"CheckpointHook filename_tmpl must have one {{}} for the number, but is {template!r}.")
    if os.path.basename(template) != template:
        raise ConfigError(
            f"CheckpointHook filename_tmpl must be the name of a file, without a folder, but is {template!r}: the "
            "folder is out_dir."
        )
    return template


def _check_storage(out_dir: str | None, backend_args: Any, file_client_args: Any) -> None:
    """Checkpoints are renamed into place, which object stores cannot do."""
    if backend_args is not None and file_client_args is not None:
        raise ConfigError("CheckpointHook has both backend_args and file_client_args: keep backend_args.")
    name = "backend_args" if file_client_args is None else "file_client_args"
    given = backend_args if file_client_args is None else file_client_args
    if file_client_args is not None:
        print_log("CheckpointHook: file_client_args is an old name of backend_args.", "current", WARNING)
    if given and (not isinstance(given, dict) or given.get("backend") not in _LOCAL or set(given) - {"backend"}):
        wrong = f"{name}={given!r}"
    elif out_dir is not None and is_url(out_dir):
        wrong = f"out_dir={out_dir!r}"
    else:
        return
    raise ConfigError(
        f"CheckpointHook writes to local folders only, mounted ones among them, but got {wrong}. To copy checkpoints "
        "to another storage as they appear, write a hook with after_save_checkpoint(self, runner, path)."
    )
