"""The evaluation hooks of MMCV 1.x."""

from __future__ import annotations

import glob
import operator
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf
from typing import Any, ClassVar

import torch
import torch.distributed as torch_dist
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from trainwright.base.errors import CheckpointError, ConfigError, ConfigTypeError
from trainwright.checkpoint import read_checkpoint
from trainwright.compat.mmcv1.errors import LackingError, demand
from trainwright.compat.mmcv1.runner import exact
from trainwright.compat.mmcv1.runner.hooks.files import delete_replaced, folder_of_run, is_local
from trainwright.compat.mmcv1.runner.hooks.hook import Hook, is_method_of
from trainwright.compat.mmcv1.runner.hooks.logger.base import LoggerHook
from trainwright.hooks.metric_rules import GREATER_KEYS, LESS_KEYS, BestRules
from trainwright.state import rng


@contextmanager
def _modes_kept(model: torch.nn.Module) -> Iterator[None]:
    """The runner has set the modes of what it trains before, and does not again until its next epoch or iteration."""
    modes = [(module, module.training) for module in model.modules()]
    yield
    for module, training in modes:
        module.training = training


class EvalHook(Hook):
    """Evaluates every ``interval`` epochs (``by_epoch``) or iterations, from the number ``start`` on; a ``start`` that
    training has reached when it begins is one more evaluation, before it.

    ``test_fn(model, dataloader)`` gives the results (None: ``mmcv.engine.single_gpu_test``), and
    ``dataloader.dataset.evaluate(results, logger=..., **eval_kwargs)`` the metrics. The best checkpoint by the metric
    ``save_best`` ('auto': the first one) is kept as ``best_<metric>_epoch_N.pth`` in the run's folder, or in the folder
    of its name in ``out_dir``; ``rule`` ('greater' or 'less'), ``greater_keys`` and ``less_keys`` say which is better.
    ``best_score`` and ``best_ckpt`` in ``runner.meta["hook_msgs"]`` carry through a resume. Random streams go on behind
    an evaluation as if there had been none.
    """

    rule_map: ClassVar[dict[str, Callable[[Any, Any], bool]]] = {"greater": operator.gt, "less": operator.lt}
    init_value_map: ClassVar[dict[str, float]] = {"greater": -inf, "less": inf}
    _default_greater_keys: ClassVar[Sequence[str]] = list(GREATER_KEYS)
    _default_less_keys: ClassVar[Sequence[str]] = list(LESS_KEYS)

    def __init__(
        self,
        dataloader: DataLoader[Any],
        start: int | None = None,
        interval: int = 1,
        by_epoch: bool = True,
        save_best: str | None = None,
        rule: str | None = None,
        test_fn: Callable[..., Any] | None = None,
        greater_keys: str | Sequence[str] | None = None,
        less_keys: str | Sequence[str] | None = None,
        out_dir: str | None = None,
        file_client_args: dict[str, Any] | None = None,
        **eval_kwargs: Any,
    ) -> None:
        kind = type(self).__name__
        if not isinstance(dataloader, DataLoader):
            raise ConfigTypeError(f"{kind} dataloader must be a torch DataLoader, got a {type(dataloader).__name__}.")
        if interval <= 0:
            raise ConfigError(f"{kind} interval must be at least 1, got {interval}.")
        demand(isinstance(by_epoch, bool), f"{kind} by_epoch must be True or False, got {by_epoch!r}")
        if start is not None and start < 0:
            raise ConfigError(f"{kind} start must be at least 0, got {start}; None starts with the first interval.")
        demand(
            save_best is None or isinstance(save_best, str),
            f"{kind} save_best must be the name of a metric, 'auto' or None, got {save_best!r}",
        )
        self.dataloader = dataloader
        self.interval = interval
        self.start = start
        self.by_epoch = by_epoch
        self.save_best = save_best
        self.eval_kwargs = eval_kwargs
        self.initial_flag = True
        self.test_fn = self._usual_test_fn() if test_fn is None else test_fn
        self.greater_keys = self._default_greater_keys if greater_keys is None else _names("greater_keys", greater_keys)
        self.less_keys = self._default_less_keys if less_keys is None else _names("less_keys", less_keys)
        self.best_ckpt_path: str | None = None
        if save_best is not None:
            self._init_rule(rule, save_best)
        self.out_dir = out_dir
        self.file_client_args = file_client_args
        self._settled: str | None = None  # the out_dir that has the run's name already

    @staticmethod
    def _usual_test_fn() -> Callable[..., Any]:
        from trainwright.compat.mmcv1 import engine

        found: Callable[..., Any] = engine.single_gpu_test
        return found

    def _init_rule(self, rule: str | None, key_indicator: str) -> None:
        if rule is not None and rule not in self.rule_map:
            raise LackingError(f"{type(self).__name__} rule must be 'greater', 'less' or None, got {rule!r}.")
        if rule is None and key_indicator != "auto":
            rules = BestRules(tuple(self.greater_keys), tuple(self.less_keys), type(self).__name__)
            rule = rules.infer(key_indicator)
        self.rule = rule
        self.key_indicator = key_indicator
        if rule is not None:
            self.compare_func = self.rule_map[rule]

    def idle_at(self, stage: str) -> bool:
        """It evaluates by epoch or by iteration."""
        idle = (
            ("before_train_iter", "after_train_iter") if self.by_epoch else ("before_train_epoch", "after_train_epoch")
        )
        return stage in idle and is_method_of(EvalHook, self, stage)

    def before_run(self, runner: Any) -> None:
        """Settle the folder, and take up the best of the run that is resumed."""
        if self._settled is None or self.out_dir != self._settled:
            self.file_client, folder = folder_of_run(self.out_dir, runner.work_dir, self.file_client_args)
            self.out_dir = self._settled = folder
        if self.out_dir != runner.work_dir:
            runner.logger.info(f"The best checkpoint will be saved to {self.out_dir} by {self.file_client.name}.")
        if self.save_best is None:
            return
        if runner.meta is None:
            warnings.warn(
                "runner.meta is None, and the best checkpoint is noted there: it is a dict now.", stacklevel=2
            )
            runner.meta = {}
        notes = runner.meta.setdefault("hook_msgs", {})
        if is_local(self.file_client):
            self._take_up_later_best(runner, notes)
        self.best_ckpt_path = notes.get("best_ckpt")

    def _take_up_later_best(self, runner: Any, notes: dict[str, Any]) -> None:
        """Where the checkpoint that is resumed was saved before the evaluation at its end, that may have found a best:
        then a file of the same moment says so."""
        resumed = getattr(runner, "_resumption", None)
        if resumed is None:
            return
        number = f"epoch_{runner.epoch}" if self.by_epoch else f"iter_{runner.iter}"
        metric = "*" if self.key_indicator == "auto" else glob.escape(self._in_name())
        for path in sorted(glob.glob(os.path.join(glob.escape(str(self.out_dir)), f"best_{metric}_{number}.pth"))):
            try:
                found = read_checkpoint(path)
            except CheckpointError as error:
                runner.logger.warning(f"a best checkpoint cannot be read, and does not count: {error}")
                continue
            if _is_same_moment(found.get(exact.KEY, {}), resumed.saved):
                earlier, later = notes.get("best_ckpt"), found["meta"]["hook_msgs"]
                notes["best_score"], notes["best_ckpt"] = later["best_score"], path
                if earlier:
                    delete_replaced(self.file_client, str(self.out_dir), [earlier], path)

    def _in_name(self) -> str:
        return self.key_indicator.replace("/", "_")

    def before_train_iter(self, runner: Any) -> None:
        """Evaluate before the first iteration, where ``start`` says so."""
        if self.by_epoch or not self.initial_flag:
            return
        if self.start is not None and runner.iter >= self.start:
            with _modes_kept(runner.model):
                self.after_train_iter(runner)
        self.initial_flag = False

    def before_train_epoch(self, runner: Any) -> None:
        """Evaluate before the first epoch, where ``start`` says so."""
        if not (self.by_epoch and self.initial_flag):
            return
        if self.start is not None and runner.epoch >= self.start:
            with _modes_kept(runner.model):
                self.after_train_epoch(runner)
        self.initial_flag = False

    def after_train_iter(self, runner: Any) -> None:
        """Evaluate by iteration. Loggers come later in the iteration, and would mix its line into that of the
        evaluation: they write it now."""
        if self.by_epoch or not self._should_evaluate(runner):
            return
        for hook in runner.hooks:
            if isinstance(hook, LoggerHook):
                hook.after_train_iter(runner)
        runner.log_buffer.clear()
        self._do_evaluate(runner)

    def after_train_epoch(self, runner: Any) -> None:
        """Evaluate by epoch."""
        if self.by_epoch and self._should_evaluate(runner):
            self._do_evaluate(runner)

    def _do_evaluate(self, runner: Any) -> None:
        with rng.set_aside():
            results = self.test_fn(runner.model, self.dataloader)
            score = self._noted(runner, results)
        self._keep_if_best(runner, score)

    def _noted(self, runner: Any, results: Any) -> Any:
        runner.log_buffer.output["eval_iter_num"] = len(self.dataloader)
        return self.evaluate(runner, results)

    def _keep_if_best(self, runner: Any, score: Any) -> None:
        if self.save_best and score is not None:
            self._save_ckpt(runner, score)

    def _should_evaluate(self, runner: Any) -> bool:
        """Whether the running epoch or iteration is an ``interval``-th one, counted from ``start``."""
        if self.start is None:
            every = self.every_n_epochs if self.by_epoch else self.every_n_iters
            return every(runner, self.interval)
        n_since = (runner.epoch if self.by_epoch else runner.iter) + 1 - self.start
        return bool(n_since >= 0 and n_since % self.interval == 0)

    def _save_ckpt(self, runner: Any, key_score: Any) -> None:
        """Save where ``key_score`` beats the best so far; the earlier best one goes when the new one is there."""
        kind, number = ("epoch", runner.epoch + 1) if self.by_epoch else ("iter", runner.iter + 1)
        notes = runner.meta["hook_msgs"]
        if not self.compare_func(key_score, notes.get("best_score", self.init_value_map[str(self.rule)])):
            return
        before, earlier = dict(notes), self.best_ckpt_path
        name = f"best_{self._in_name()}_{kind}_{number}.pth"
        path = self.file_client.join_path(self.out_dir, name)
        notes["best_score"], notes["best_ckpt"] = key_score, path  # the checkpoint itself has them too
        try:
            runner.save_checkpoint(self.out_dir, filename_tmpl=name, create_symlink=False)
        except BaseException:
            notes.clear()
            notes.update(before)
            raise
        self.best_ckpt_path = path
        runner.logger.info(f"Now best checkpoint is saved as {name}.")
        runner.logger.info(f"Best {self.key_indicator} is {key_score:0.4f} at {number} {kind}.")
        if earlier and earlier != path and self.file_client.isfile(earlier):
            delete_replaced(self.file_client, str(self.out_dir), [earlier], path)
            runner.logger.info(f"It replaces the best checkpoint so far, {earlier}.")

    def evaluate(self, runner: Any, results: Any) -> Any:
        """Put the metrics into the log buffer; returns that of ``save_best``, None where there is none."""
        metrics = self.dataloader.dataset.evaluate(results, logger=runner.logger, **self.eval_kwargs)  # type: ignore[attr-defined]
        runner.log_buffer.output.update(metrics)
        runner.log_buffer.ready = True
        if self.save_best is None:
            return None
        if not metrics:
            # Looked for in this wording.
            warnings.warn(
                "Since `eval_res` is an empty dict, the behavior to save the best checkpoint will be skipped in this "
                "evaluation.",
                stacklevel=2,
            )
            return None
        if self.key_indicator == "auto":
            self._init_rule(self.rule, next(iter(metrics)))
        if self.key_indicator not in metrics:
            raise LackingError(
                f"{type(self).__name__} save_best={self.key_indicator!r} is not among the metrics: "
                f"{', '.join(metrics)}."
            )
        return metrics[self.key_indicator]


class DistEvalHook(EvalHook):
    """EvalHook for several ranks.

    ``test_fn(model, dataloader, tmpdir=..., gpu_collect=...)`` gives all results on rank 0 (None:
    ``mmcv.engine.multi_gpu_test``), which evaluates. ``broadcast_bn_buffer``: all ranks test with the running
    statistics of rank 0. Results are brought together in ``tmpdir`` (None: ``.eval_hook`` of the run's folder), or
    through the group with ``gpu_collect``.
    """

    def __init__(
        self,
        dataloader: DataLoader[Any],
        start: int | None = None,
        interval: int = 1,
        by_epoch: bool = True,
        save_best: str | None = None,
        rule: str | None = None,
        test_fn: Callable[..., Any] | None = None,
        greater_keys: str | Sequence[str] | None = None,
        less_keys: str | Sequence[str] | None = None,
        broadcast_bn_buffer: bool = True,
        tmpdir: str | None = None,
        gpu_collect: bool = False,
        out_dir: str | None = None,
        file_client_args: dict[str, Any] | None = None,
        **eval_kwargs: Any,
    ) -> None:
        super().__init__(
            dataloader,
            start=start,
            interval=interval,
            by_epoch=by_epoch,
            save_best=save_best,
            rule=rule,
            test_fn=test_fn,
            greater_keys=greater_keys,
            less_keys=less_keys,
            out_dir=out_dir,
            file_client_args=file_client_args,
            **eval_kwargs,
        )
        self.broadcast_bn_buffer = broadcast_bn_buffer
        self.tmpdir = tmpdir
        self.gpu_collect = gpu_collect

    @staticmethod
    def _usual_test_fn() -> Callable[..., Any]:
        from trainwright.compat.mmcv1 import engine

        found: Callable[..., Any] = engine.multi_gpu_test
        return found

    def _do_evaluate(self, runner: Any) -> None:
        if self.broadcast_bn_buffer:
            for module in runner.model.modules():
                if isinstance(module, _BatchNorm) and module.track_running_stats:
                    assert module.running_var is not None
                    assert module.running_mean is not None
                    torch_dist.broadcast(module.running_var, 0)
                    torch_dist.broadcast(module.running_mean, 0)
        tmpdir = os.path.join(runner.work_dir, ".eval_hook") if self.tmpdir is None else self.tmpdir
        score = None
        with rng.set_aside():
            results = self.test_fn(runner.model, self.dataloader, tmpdir=tmpdir, gpu_collect=self.gpu_collect)
            if runner.rank == 0:
                sys.stdout.write("\n")  # below the progress bar
                score = self._noted(runner, results)
        if self.save_best:
            runner.gather_run_state()  # before it is known whether rank 0 saves
        self._keep_if_best(runner, score)


def _is_same_moment(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two checkpoints were saved at one place of one run: an evaluation leaves random streams as they were."""
    if not one or tuple(one["progress"]) != tuple(other["progress"]):
        return False
    streams = [state["ranks"].get(0, {}).get("rng", {}).get("torch") for state in (one, other)]
    return all(stream is not None for stream in streams) and torch.equal(*streams)


def _names(setting: str, keys: Any) -> Sequence[str]:
    names = (keys,) if isinstance(keys, str) else keys
    is_list = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    demand(is_list, f"{setting} must be names of metrics, got {keys!r}")
    return tuple(names)
