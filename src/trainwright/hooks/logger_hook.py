"""Writes the log line and the scalars."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from logging import WARNING
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.logs import PROGRESS, print_log
from trainwright.dist import is_main_process
from trainwright.engine import Hook
from trainwright.engine.by_hand import clock_of, is_run
from trainwright.engine.hook import DATA_BATCH
from trainwright.engine.loops.base import pass_length
from trainwright.hooks.intervals import next_log_iter
from trainwright.hooks.storage import HasStorage
from trainwright.io import dump, write_bytes
from trainwright.registry import HOOKS

SUFFIX_TYPE = Sequence[str] | str


@HOOKS.register_module()
class LoggerHook(HasStorage, Hook):
    """Every ``interval`` iterations: one line to the logger and the same values to the visualizer's writers.

    This is where metrics are read from the device; between two lines nothing is. ``ignore_last`` leaves the shorter
    rest of an epoch without a line, ``interval_exp_name`` says how often the experiment's name is repeated,
    ``log_metric_by_epoch`` whether validation metrics are written against the epoch or the iteration.

    With ``out_dir``, a folder or a URL that fsspec knows, the files of the run's log folder whose names end in one of
    ``out_suffix`` are copied into its subfolder with the name of the work_dir when the run ends; without ``keep_local``
    they are removed here (API of mmengine's LoggerHook).
    """

    priority = "BELOW_NORMAL"

    def __init__(
        self,
        interval: int = 10,
        ignore_last: bool = True,
        interval_exp_name: int = 1000,
        out_dir: str | os.PathLike[str] | None = None,
        out_suffix: str | list[str] | tuple[str, ...] = (".json", ".log", ".py", "yaml"),
        keep_local: bool = True,
        file_client_args: dict[str, Any] | None = None,
        log_metric_by_epoch: bool = True,
        backend_args: dict[str, Any] | None = None,
    ) -> None:
        for name, value in (("interval", interval), ("interval_exp_name", interval_exp_name)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigTypeError(f"LoggerHook {name} must be a whole number of iterations, but got {value!r}.")
            if value <= 0:
                raise ConfigTypeError(f"LoggerHook {name} must be at least 1, but got {value}.")
        if not isinstance(ignore_last, bool):
            raise ConfigTypeError(f"LoggerHook ignore_last must be True or False, but got {ignore_last!r}.")
        self.interval = interval
        self.ignore_last = ignore_last
        self.interval_exp_name = interval_exp_name
        self.log_metric_by_epoch = log_metric_by_epoch
        suffixes = (out_suffix,) if isinstance(out_suffix, str) else out_suffix
        if not isinstance(suffixes, (list, tuple)) or not all(isinstance(suffix, str) for suffix in suffixes):
            raise ConfigTypeError(f"LoggerHook out_suffix must be a text or a list of texts, but got {out_suffix!r}.")
        _check_storage(out_dir, keep_local, backend_args, file_client_args)
        self.storage_dir = self.out_dir = None if out_dir is None else os.fspath(out_dir)
        self.file_client_args, self.backend_args = file_client_args, backend_args
        self._check_backend()
        self.out_suffix = out_suffix
        self.keep_local = keep_local
        self.json_log_path: str | None = None

    def _check_backend(self) -> None:
        given = self.backend_args if self.file_client_args is None else self.file_client_args
        try:
            _ = self.file_backend if given else None
        except (ImportError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"LoggerHook knows no backend {given!r}: {str(error).rstrip('.')}. Correct it, or give "
                "out_dir as a folder or as a URL, such as s3://bucket/logs."
            ) from error

    def before_run(self, runner: Any) -> None:
        """The name of the file of scalars, and where the logs will go."""
        self.json_log_path = f"{runner.timestamp}.json"
        if self.storage_dir is not None:
            self.out_dir = f"{self.storage_dir.rstrip('/')}/{os.path.basename(os.path.abspath(runner.work_dir))}"

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Write a training line when one is due."""
        clock = clock_of(runner)
        done = batch_idx + 1
        ends_epoch = done == clock.epoch_length
        if ends_epoch or (clock.iter + 1) % self.interval_exp_name == 0:
            _say(runner, f"Exp name: {runner.experiment_name}")
        if done % self.interval and (not ends_epoch or (self.ignore_last and done > self.interval)):
            return
        tag, line = runner.log_processor.get_log_after_iter(runner, batch_idx, "train")
        _say(runner, line)
        runner.visualizer.add_scalars(tag, step=clock.iter + 1, file_path=self.json_log_path)

    def next_train_iter(self, runner: Any) -> int | None:
        """The next line, mention of the experiment's name, or end of an epoch."""
        clock = runner.ctx.clock
        name = clock.iter + self.interval_exp_name - 1 - clock.iter % self.interval_exp_name
        return int(min(next_log_iter(clock, self.interval), name))

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Any = None) -> None:
        """Write a progress line of validation."""
        if (batch_idx + 1) % self.interval == 0:
            _, line = runner.log_processor.get_log_after_iter(runner, batch_idx, "val")
            _say(runner, line)

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Any = None) -> None:
        """Write a progress line of testing."""
        if (batch_idx + 1) % self.interval == 0:
            _, line = runner.log_processor.get_log_after_iter(runner, batch_idx, "test")
            _say(runner, line)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Write the metrics; ``step`` is the epoch in epoch-based training when ``log_metric_by_epoch``, otherwise the
        iteration, which is written as ``iter`` in any case."""
        if not is_run(runner):
            self._write_plain_metrics(runner)
            return
        tag, line = runner.log_processor.get_log_after_epoch(runner, pass_length(runner.val_loop) or 0, "val")
        runner.logger.info(line)
        clock = runner.ctx.clock
        by_epoch = self.log_metric_by_epoch and runner.by_epoch
        # A validation of a model that was not trained here belongs to step 0.
        step = clock.epoch if by_epoch else clock.iter
        runner.visualizer.add_scalars({**tag, "iter": clock.iter}, step=step, file_path=self.json_log_path)

    def _write_plain_metrics(self, runner: Any) -> None:
        tag, line = runner.log_processor.get_log_after_epoch(runner, len(runner.val_dataloader), "val")
        runner.logger.info(line)
        is_built = runner._train_loop is not None and not isinstance(runner._train_loop, dict)
        step = (runner.epoch if self.log_metric_by_epoch else runner.iter) if is_built else 0
        runner.visualizer.add_scalars(tag, step=step, file_path=self.json_log_path)

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Write the test metrics to the log and to a file of their own."""
        n_batches = (pass_length(runner.test_loop) or 0) if is_run(runner) else len(runner.test_dataloader)
        tag, line = runner.log_processor.get_log_after_epoch(runner, n_batches, "test", with_non_scalar=True)
        runner.logger.info(line)
        if is_run(runner):
            runner.dump_test_metrics(tag)
        else:
            dump(self._process_tags(tag), os.path.join(runner.log_dir, str(self.json_log_path)))

    @staticmethod
    def _process_tags(tags: Mapping[str, Any]) -> dict[str, Any]:
        """What of ``tags`` JSON can hold, tensors and arrays as lists; None for the rest."""
        return OrderedDict((name, _plain(value)) for name, value in tags.items())

    def after_train(self, runner: Any) -> None:
        """Close the writers."""
        runner.visualizer.close()

    def after_run(self, runner: Any) -> None:
        """Copy the logs to ``out_dir``."""
        inside = is_run(runner)
        if not inside or self.out_dir is not None:
            runner.visualizer.close()
        if self.out_dir is None or not is_main_process():
            return
        runner.logger.info("the logs are copied to %s", self.out_dir)
        if inside:
            runner.logger.close_files()  # all of it is in the file; another message opens it again
        folder = runner.log_dir if inside else runner._log_dir
        suffixes = (self.out_suffix,) if isinstance(self.out_suffix, str) else tuple(self.out_suffix)
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file() and file.name.endswith(suffixes):
                self._put(file.read_bytes(), f"{self.out_dir}/{file.relative_to(folder).as_posix()}")
                if not self.keep_local:
                    file.unlink()

    def _put(self, data: bytes, path: str) -> None:
        if self.file_client_args or self.backend_args:
            self.file_backend.put(data, path)
        else:
            write_bytes(path, data)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return value.tolist()
    return value if isinstance(value, (str, int, float, bool)) else None


def _say(runner: Any, line: str) -> None:
    if is_run(runner):
        runner.logger.info(line, extra=PROGRESS)
    else:
        runner.logger.info(line)


def _check_storage(out_dir: Any, keep_local: Any, backend_args: Any, file_client_args: Any) -> None:
    if out_dir is not None and not isinstance(out_dir, (str, os.PathLike)):
        raise ConfigTypeError(f"LoggerHook out_dir must be a folder or a URL, but got {out_dir!r}.")
    if not isinstance(keep_local, bool):
        raise ConfigTypeError(f"LoggerHook keep_local must be True or False, but got {keep_local!r}.")
    if out_dir is None and file_client_args is not None:
        raise ConfigError("LoggerHook file_client_args says where out_dir lies, and there is no out_dir.")
    if file_client_args is not None:
        print_log('LoggerHook: "file_client_args" is an old name of backend_args.', "current", WARNING)
        if backend_args is not None:
            raise ConfigError(
                'LoggerHook: "file_client_args" and "backend_args" cannot be set at the same time: keep backend_args.'
            )
