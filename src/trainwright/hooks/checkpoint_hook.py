"""Saves checkpoints: regularly, at the end, and the best by a metric."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any, ClassVar

from trainwright.base.errors import ConfigError, MissingMetricError, RuleError, SaveError
from trainwright.base.text import did_you_mean
from trainwright.checkpoint import CheckpointManager
from trainwright.checkpoint.layouts import name_in
from trainwright.checkpoint.retention import Ranking, Retention
from trainwright.checkpoint.run_lock import RunLock, is_held
from trainwright.dist import is_main_process
from trainwright.engine import NEVER, Hook
from trainwright.engine.by_hand import evaluates_alone, is_run
from trainwright.engine.hook import DATA_BATCH
from trainwright.hooks.by_hand_saves import PlainNames, PlainSaves
from trainwright.hooks.checkpoint_settings import (
    checked_layout,
    checked_template,
    names_of,
    save_times,
    storage_options,
    whole,
)
from trainwright.hooks.metric_rules import GREATER_KEYS, LESS_KEYS, Best, BestRules
from trainwright.hooks.save_timer import SaveTimer
from trainwright.io import is_url, local_dir
from trainwright.registry import HOOKS
from trainwright.state import Clock

Settled = Callable[[BaseException | None, Any], None]


@HOOKS.register_module()
class CheckpointHook(PlainNames, Hook):
    """Saves every ``interval`` epochs (``by_epoch``) or iterations from ``save_begin`` on, and at the end when
    ``save_last``, also where a validation ends training early; keeps ``max_keep_ckpts`` of them (-1: all); for each
    metric of ``save_best`` (a name, a list, or 'auto' for the first one) the best one so far, as
    ``best_<metric>_<name>`` (API of mmengine's CheckpointHook).

    Order of a save: logged losses are read and must be finite, the new one is published durably, the hint file is moved
    to it, and only then old ones are deleted. ``rule``, ``greater_keys`` and ``less_keys`` say when a metric is better.
    ``filename_tmpl`` has one ``{}`` for the number. The kept list and the best values go into checkpoints, so they
    continue after a resume. With ``async_save`` all of it is done in a thread, from a copy of the state in the host's
    memory; the next save waits for it.

    ``interval`` may be a text: '2 ep', '500 it', or '30 min' as ``save_every_s`` says in seconds. ``keep_best`` of each
    metric stay (1), and for good those whose number is a multiple of ``keep_every``; of the last ones only those that
    verify are counted. ``layout`` is 'file', 'folder' (a step folder), or 'auto' for what the strategy prefers. A save
    that the storage refuses is an error in the log, and ends the training at ``max_save_failures`` in a row.

    Checkpoints lie in ``work_dir``, or in the folder of its name inside ``out_dir``, which may be a URL that fsspec
    reaches: then a local folder stands in for it, they are uploaded in the background, and ``backend_args`` has the
    options of the storage's fsspec class. After training the last one (with ``save_last``) and the best ones are copied
    with the ``published_keys`` only, and the beginning of the copy's sha256 in its name.
    """

    priority = "VERY_LOW"
    rewinds = False  # files on disk stay
    out_dir: str
    last_ckpt: str | None = None
    n_failed = 0  # saves in a row
    _lock: RunLock | None = None  # of an out_dir
    _default_greater_keys: ClassVar[tuple[str, ...] | list[str]] = GREATER_KEYS
    _default_less_keys: ClassVar[tuple[str, ...] | list[str]] = LESS_KEYS

    def __init__(
        self,
        interval: int | str = -1,
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
        *,
        layout: str = "auto",
        keep_every: int | None = None,
        keep_best: int = 1,
        save_every_s: float | str | None = None,
        max_save_failures: int = 3,
        async_save: bool = False,
    ) -> None:
        self.interval, self.by_epoch, self.save_every_s = save_times(interval, by_epoch, save_every_s)
        if max_keep_ckpts == 0:
            raise ConfigError("CheckpointHook max_keep_ckpts=0 would keep nothing; use -1 to keep all, or 1 or more.")
        self.layout, self._wished_layout = "file", checked_layout(layout)
        self.save_optimizer = save_optimizer
        self.save_param_scheduler = save_param_scheduler
        self._wished_out_dir = None if out_dir is None else os.fspath(out_dir)
        self.backend_args, self.file_client_args = backend_args, file_client_args
        self._storage_options = storage_options(self._wished_out_dir, backend_args, file_client_args)
        self.save_last = save_last
        self.save_begin = whole("save_begin", save_begin, 0)
        self.filename_tmpl = checked_template(filename_tmpl or ("epoch_{}.pth" if self.by_epoch else "iter_{}.pth"))
        self.retention = Retention(max_keep_ckpts, 0 if keep_every is None else whole("keep_every", keep_every, 1))
        self.keep_best = whole("keep_best", keep_best, 1)
        self.max_save_failures = whole("max_save_failures", max_save_failures, 1)
        self.async_save = async_save
        self._timer = None if self.save_every_s is None else SaveTimer(self.save_every_s)
        self.greater_keys = names_of("greater_keys", greater_keys) or tuple(self._default_greater_keys)
        self.less_keys = names_of("less_keys", less_keys) or tuple(self._default_less_keys)
        self._best_rules = BestRules(self.greater_keys, self.less_keys)
        self.bests = self._make_bests(save_best, rule)
        self.auto_best = [best.metric for best in self.bests] == ["auto"]
        self.published_keys = names_of("published_keys", published_keys)

    def _make_bests(self, save_best: Any, rule: Any) -> list[Best]:
        names = names_of("save_best", save_best) or ()
        if "auto" in names and len(names) > 1:
            raise RuleError("CheckpointHook save_best='auto' stands for the first metric and goes with no other.")
        rules: list[Any] = list(rule) if isinstance(rule, (list, tuple)) else [rule]
        if len(rules) == 1:
            rules *= max(len(names), 1)
        if names and len(rules) != len(names):
            raise RuleError(f"CheckpointHook has {len(names)} metrics in save_best and {len(rules)} in rule.")
        self._given_rules = rules  # that of 'auto' is known with its metric, unless it is given
        return [
            Best(name, self._best_rules.chosen(name, item or ("greater" if name == "auto" else None)))
            for name, item in zip(names, rules, strict=False)
        ]

    @property
    def max_keep_ckpts(self) -> int:
        """How many regular checkpoints are kept."""
        return self.retention.max_keep

    @property
    def keep_ckpt_ids(self) -> deque[Any]:
        """What is kept."""
        return deque(self.retention.saved) if self._plain is None else self._plain.kept

    def before_run(self, runner: Any) -> None:
        """Settle the folder: a resume looks for checkpoints there."""
        self.layout = self._wished_layout
        if self.layout == "auto" and is_run(runner):
            self.layout = str(getattr(runner.strategy, "layout", "file"))
        self.out_dir = runner.work_dir
        wished = self._wished_out_dir
        self.storage_dir = runner.work_dir if wished is None else wished
        if wished is None or _is_same(wished, runner.work_dir):
            return
        base = os.path.basename(os.path.abspath(runner.work_dir))
        if is_url(wished):
            self.out_dir = str(local_dir(f"{wished.rstrip('/')}/{base}", "out_dir", self._storage_options))
        else:
            self.out_dir = os.path.join(wished, base)

    def before_train(self, runner: Any) -> None:
        """Clear away what a killed save left, where no other run can be writing."""
        self.before_run(runner)
        self._plain = None if is_run(runner) else PlainSaves(self, runner)
        if self._plain is not None:
            return
        if not _is_same(self.out_dir, runner.work_dir) and self._lock is None:
            self._lock = RunLock(self.out_dir)
            self._lock.acquire()
        if is_held(self.out_dir):
            runner.checkpoints(self.out_dir).sweep(self.filename_tmpl.format(0))
        if self.last_ckpt is not None:  # resumed: what was to be deleted after the save that it is resumed from
            self._purge(runner.checkpoints(self.out_dir), self.last_ckpt)
        if self._timer is not None:
            self._timer.start(runner)
        if self.published_keys and not self.save_last and not self.bests:
            runner.logger.warning("CheckpointHook published_keys has no effect without save_last=True or save_best.")

    def unlock(self) -> None:
        """Let other runs into the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def rewound(self, runner: Any) -> None:
        """Say in the message hub again what is there."""
        if self.last_ckpt is not None or any(best.path is not None for best in self.bests):
            self._mirror(runner)

    def after_train(self, runner: Any) -> None:
        """Publish the last and the best; not when training will be taken up again. Where the last save failed it is
        tried again first: a training does not end well without its last checkpoint."""
        runner.finish_saves()
        if self.n_failed and self.save_last and not runner.ctx.stop.interrupts:
            self._save_regular(runner, self._name_now(runner), must=True)
        if not self.published_keys or runner.ctx.stop.interrupts or not is_main_process():
            return
        last = [self.last_ckpt] if self.save_last else []
        for path in dict.fromkeys([*last, *(best.path for best in self.bests)]):
            if path is not None and self._is_own(path):
                self._publish_model(runner, path)

    def _publish_model(self, runner: Any, ckpt_path: str) -> None:
        """Copy ``published_keys`` of a checkpoint into a file beside it."""
        wished = self.published_keys or ()
        if not os.path.exists(ckpt_path):
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
        self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Save by iteration, and by time; look what became of a save in the background."""
        if self._looks_back(runner):
            runner.finish_saves(timeout_s=0)
        due = not self.by_epoch and self.every_n_train_iters(runner, self.interval, self.save_begin)
        if due or (not self.by_epoch and self.save_last and self.is_last_train_iter(runner)):
            runner.logger.info("Saving checkpoint at %d iterations", runner.iter + 1)
            self._save_regular(runner, self.filename_tmpl.format(runner.iter + 1))
        elif self._timer is not None and self._timer.is_due(runner):
            runner.logger.info("Saving checkpoint at %d iterations, by time", runner.iter + 1)
            self._save_regular(runner, f"iter_{runner.iter + 1}.pth")

    def next_train_iter(self, runner: Any) -> int | None:
        """The next regular save, or the last iteration, or look at the clock; never when saving goes by epoch."""
        look = NEVER if self._timer is None else max(self._timer.next_look, runner.ctx.clock.iter)
        if self._looks_back(runner):
            look = runner.ctx.clock.iter
        return look if self.by_epoch else min(self._next_save(runner.ctx.clock), look)

    def _looks_back(self, runner: Any) -> bool:
        """Whether a save in the background may be found done at any iteration. Several ranks would have to agree on
        one, and so look when they save again, and at the end."""
        return self.async_save and runner.is_saving and runner.world_size == 1

    def _next_save(self, clock: Clock) -> int:
        last = NEVER if clock.max_iters is None or not self.save_last else clock.max_iters - 1
        if self.interval <= 0:
            return max(last, clock.iter)
        n_since = max(clock.iter + 1 - self.save_begin, 0)
        n_intervals = -(-n_since // self.interval)
        return max(min(self.save_begin + n_intervals * self.interval - 1, last), clock.iter)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Save the best, and the last where this validation ends training; nothing after one outside training."""
        if evaluates_alone(runner):
            return
        if self.bests and not metrics:
            runner.logger.warning("validation gave no metric: CheckpointHook save_best has nothing to compare.")
        if self.bests and metrics:
            self._save_bests(runner, metrics)
        if is_run(runner):
            self._save_early_last(runner)

    def _save_early_last(self, runner: Any) -> None:
        stop = runner.ctx.stop
        if not self.save_last or not stop.requested or stop.interrupts or (self.by_epoch and not runner.by_epoch):
            return
        name = self._name_now(runner)
        if self.last_ckpt != self._path(name):
            runner.logger.info("Saving checkpoint where training is stopped early")
            self._save_regular(runner, name)

    def _save_bests(self, runner: Any, metrics: dict[str, float]) -> None:
        if self.auto_best and self.bests[0].metric == "auto":
            metric = next(iter(metrics))
            self.bests = [Best(metric, self._best_rules.chosen(metric, self._given_rules[0]), path=self.bests[0].path)]
        if self._plain is not None:
            self._plain.save_bests(runner, metrics)
            return
        for best in self.bests:
            if best.metric not in metrics:
                raise MissingMetricError(
                    f"CheckpointHook save_best={best.metric!r} is not among the metrics: {', '.join(metrics)}."
                    f"{did_you_mean(best.metric, metrics)}"
                )
            value = metrics[best.metric]
            if value is not None:
                self._save_best(runner, best, float(value))

    def save_now(self, runner: Any) -> str:
        """Save where the run stands, between two iterations, under the number of finished iterations. SaveError when
        that fails: whoever asks is about to end the run."""
        name = f"iter_{runner.ctx.clock.as_completed().iter}.pth"
        self._save_regular(runner, name, must=True)
        return self._path(name)

    def _name_now(self, runner: Any) -> str:
        progress = runner.ctx.clock.as_completed()
        return self.filename_tmpl.format(progress.epoch if self.by_epoch else progress.iter)

    def _path(self, name: str) -> str:
        return os.path.join(self.out_dir, name_in(self.layout, name))

    def _save(self, runner: Any, name: str, hint: str | None, settled: Settled, now: bool = False) -> None:
        """Save, move the hint in the folder ``hint``, delete what has to go; ``settled`` gets the error of the save, or
        what :meth:`_publish` returned: with ``async_save`` later, unless it must be done ``now``."""
        path, manager = self._path(name), runner.checkpoints(self.out_dir)
        doomed = [old for old in self.retention.doomed if self._is_own(old)]
        follow = partial(_publish, manager, path, doomed, hint)
        settings: dict[str, Any] = {} if self.layout == "file" else {"layout": self.layout}
        settings |= {"save_optimizer": self.save_optimizer, "save_param_scheduler": self.save_param_scheduler}
        try:
            if self.async_save and not now:
                runner.save_in_background(self.out_dir, name, follow, settled, **settings)
                return
            runner.save_checkpoint(self.out_dir, name, by_epoch=self.by_epoch, **settings)
        except BaseException as error:  # noqa: BLE001 - raised again there, but for what training goes on after
            settled(error, None)
            return
        settled(None, follow())

    def _save_regular(self, runner: Any, name: str, must: bool = False) -> None:
        if self._plain is not None:
            self._plain.save(runner)
            return
        # The hook's own state goes into the checkpoint too, so the new one is counted in before it is written. What
        # must go is deleted only after it is durable and the hint points to it.
        runner.finish_saves()  # the lists are those of a save that has failed or not
        path, manager = self._path(name), runner.checkpoints(self.out_dir)
        progress = runner.ctx.clock.as_completed()
        before, last, n_failed = self.retention.copy(), self.last_ckpt, self.n_failed
        self.retention.add(path, progress.epoch if self.by_epoch else progress.iter, manager.counts)
        self.last_ckpt = path
        self._mirror(runner)

        def settled(error: BaseException | None, result: Any) -> None:
            if error is not None:
                self.retention, self.last_ckpt = before, last
                self._mirror(runner)
            self._settle(runner, error, result, must)

        self._save(runner, name, runner.work_dir, settled, now=must)
        if self._timer is not None and self.n_failed <= n_failed:
            self._timer.start(runner)

    def _settle(self, runner: Any, error: BaseException | None, result: Any, must: bool = False) -> bool:
        """Of a save that is over; returns whether all went well."""
        if error is not None and (must or not isinstance(error, SaveError)):
            raise error
        failure, removed = (error, []) if error is not None else result
        if failure is not None:
            self._failed(runner, failure)
            return False
        self.n_failed = 0
        self.retention.doomed = [path for path in self.retention.doomed if self._is_own(path)]
        self.retention.removed(removed)
        return True

    def _purge(self, manager: CheckpointManager, newest: str) -> None:
        """Delete what has to go, in this run's folder: one resumed from elsewhere leaves what it came from alone."""
        self.retention.doomed = [path for path in self.retention.doomed if self._is_own(path)]
        if self.retention.doomed:
            self.retention.removed(manager.purge(self.retention.doomed, newest))

    def _failed(self, runner: Any, error: SaveError) -> None:
        """Training goes on after a failed save, and not after ``max_save_failures`` in a row."""
        self.n_failed += 1
        newest = self.last_ckpt or next((best.path for best in self.bests if best.path is not None), "none")
        if self.n_failed >= self.max_save_failures:
            raise SaveError(
                f"{self.n_failed} saves in a row failed, so training ends: what it does from here on could be lost. "
                f"The last one: {error} The newest good checkpoint: {newest}. Mend the storage and resume; "
                "max_save_failures says how many may fail."
            ) from error
        runner.logger.error(
            "%s Training goes on (failure %d; it ends at %d in a row). The newest good checkpoint: %s",
            error,
            self.n_failed,
            self.max_save_failures,
            newest,
        )

    def _is_own(self, path: str) -> bool:
        """Whether ``path`` lies in this run's folder: one resumed from elsewhere leaves what it came from alone."""
        return os.path.realpath(os.path.dirname(path)) == os.path.realpath(self.out_dir)

    def _save_best(self, runner: Any, best: Best, value: float) -> None:
        runner.finish_saves()
        ranking = Ranking(self.keep_best, best.rule == "greater", list(best.entries))
        if not ranking.enters(value):
            return
        name = f"best_{best.metric.replace('/', '_')}_{self._name_now(runner)}"
        path = self._path(name)
        progress = runner.ctx.clock.as_completed()
        when = (progress.epoch, "epoch") if self.by_epoch else (progress.iter, "iter")
        is_best, before, retained = best.improves(value), replace(best), self.retention.copy()
        self.retention.doom(ranking.add(value, path), path)
        best.entries = ranking.entries
        best.score, best.path = ranking.entries[0]
        self._mirror(runner)

        def settled(error: BaseException | None, result: Any) -> None:
            if error is not None:
                best.score, best.path, best.entries = before.score, before.path, before.entries
                self.retention = retained
                self._mirror(runner)
            if self._settle(runner, error, result):
                what = "The best checkpoint" if is_best else f"One of the {self.keep_best} best checkpoints"
                text = "%s with %.4f %s at %d %s is saved to %s."
                runner.logger.info(text, what, value, best.metric, *when, os.path.basename(path))

        self._save(runner, name, None, settled)

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
            **self.retention.state_dict(),
            "last_ckpt": self.last_ckpt,
            "bests": [{**asdict(best), "entries": [list(entry) for entry in best.entries]} for best in self.bests],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue the kept list and the best values of the metrics that are still asked for."""
        self.retention.load_state_dict(state)
        self.last_ckpt = state["last_ckpt"]
        saved = {item["metric"]: Best(**{**item, "entries": _entries(item)}) for item in state["bests"]}
        if self.auto_best:
            self.bests = list(saved.values()) or self.bests
        else:
            self.bests = [saved.get(best.metric, best) for best in self.bests]


def _publish(
    manager: CheckpointManager, path: str, doomed: list[str], hint: str | None
) -> tuple[SaveError | None, list[str]]:
    """What comes after the checkpoint at ``path`` is durable; returns what failed, and what of the ``doomed`` is gone.
    It may be called in the thread that has written it."""
    try:
        if hint is not None:
            manager.point_to(path, hint)
    except OSError as error:
        return SaveError(f"the hint beside {path!r} was not written: {error.strerror or error}."), []
    return None, manager.purge(doomed, path) if doomed else []


def _entries(best: dict[str, Any]) -> list[tuple[float, str]]:
    """Of the state of one metric; what knew of one checkpoint only has no list."""
    first = [] if best["path"] is None else [(best["score"], best["path"])]
    return [(score, path) for score, path in best.get("entries") or first]


def _is_same(one: str, other: str) -> bool:
    return os.path.abspath(one) == os.path.abspath(other)
