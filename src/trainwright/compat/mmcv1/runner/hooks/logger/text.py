"""The log line and the JSON lines of MMCV 1.x, which tools read: their form is fixed to the character."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from typing import Any

import torch

from trainwright import dist
from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.compat.mmcv1.fileio import FileClient, dump
from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS
from trainwright.compat.mmcv1.runner.hooks.logger.base import LoggerHook
from trainwright.compat.mmcv1.utils import scandir

# What the head of a line has; all else follows as "name: value".
_IN_HEAD = frozenset(["mode", "Epoch", "iter", "lr", "time", "data_time", "memory", "epoch"])


@HOOKS.register_module()
class TextLoggerHook(LoggerHook):
    """Writes a line to the runner's logger, and the same as JSON to ``<timestamp>.log.json`` in the run's folder.

    The name of the experiment, ``runner.meta["exp_name"]``, is written every ``interval_exp_name`` iterations and at
    the end of epochs. With ``out_dir`` the files of the run's folder that end in one of ``out_suffix`` are copied at
    the end, to the folder of the run's name there, through the file client of ``file_client_args``; without
    ``keep_local`` they are moved.
    """

    def __init__(
        self,
        by_epoch: bool = True,
        interval: int = 10,
        ignore_last: bool = True,
        reset_flag: bool = False,
        interval_exp_name: int = 1000,
        out_dir: str | None = None,
        out_suffix: str | tuple[str, ...] = (".log.json", ".log", ".py"),
        keep_local: bool = True,
        file_client_args: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(interval, ignore_last, reset_flag, by_epoch)
        self.time_sec_tot = 0.0
        self.interval_exp_name = interval_exp_name
        if out_dir is None and file_client_args is not None:
            raise ConfigError(
                f"TextLoggerHook file_client_args={file_client_args!r} is for out_dir, and there is none: name a "
                "folder in out_dir, or leave file_client_args out."
            )
        folder: Any = out_dir
        if not (folder is None or isinstance(folder, str)):
            raise ConfigTypeError(f"TextLoggerHook out_dir must be a str or None, got {folder!r}.")
        self.out_dir = out_dir
        self._settled: str | None = None  # the out_dir that has the run's name already
        self.out_suffix = out_suffix
        self.keep_local = keep_local
        self.file_client_args = file_client_args
        if out_dir is not None:
            self.file_client = FileClient.infer_client(file_client_args, out_dir)

    def before_run(self, runner: Any) -> None:
        """Begin the JSON lines, with the runner's ``meta`` as the first one."""
        super().before_run(runner)
        if self.out_dir is not None and self.out_dir != self._settled:
            run = os.path.basename(runner.work_dir.rstrip(os.sep))
            self.out_dir = self._settled = self.file_client.join_path(self.out_dir, run)
            runner.logger.info(f"Text logs are copied to {self.out_dir} by {self.file_client.name} after the training.")
        self.start_iter = runner.iter
        self.json_log_path = os.path.join(runner.work_dir, f"{runner.timestamp}.log.json")
        if runner.meta is not None:
            self._dump_log(runner.meta, runner)

    def _get_max_memory(self, runner: Any) -> int:
        """The most that tensors took on this device so far, in MB; rank 0 gets the most of all ranks."""
        device = getattr(runner.model, "output_device", None)
        n_mb = torch.cuda.max_memory_allocated(device=device) // (1024 * 1024)
        if runner.world_size == 1:
            return n_mb
        most = torch.tensor([n_mb], dtype=torch.int, device=device or dist.get_comm_device())
        torch.distributed.reduce(most, 0, op=torch.distributed.ReduceOp.MAX)
        return int(most.item())

    def log(self, runner: Any) -> dict[str, Any]:
        """Write both; returns what was written."""
        output = runner.log_buffer.output
        # A validation by a hook says how many batches it had.
        n_done = output.pop("eval_iter_num") if "eval_iter_num" in output else self.get_iter(runner, inner_iter=True)
        values: dict[str, Any] = {"mode": self.get_mode(runner), "epoch": self.get_epoch(runner), "iter": n_done}
        lr = runner.current_lr()
        values["lr"] = {name: each[0] for name, each in lr.items()} if isinstance(lr, dict) else lr[0]
        if "time" in output and torch.cuda.is_available():
            values["memory"] = self._get_max_memory(runner)
        values.update(output)
        self._log_info(values, runner)
        self._dump_log(values, runner)
        return values

    def _log_info(self, log_dict: dict[str, Any], runner: Any) -> None:
        if runner.meta is not None and "exp_name" in runner.meta:
            ends = self.by_epoch and self.end_of_epoch(runner)
            if ends or self.every_n_iters(runner, self.interval_exp_name):
                runner.logger.info(f"Exp name: {runner.meta['exp_name']}")
        if log_dict["mode"] == "train":
            head = self._train_head(log_dict, runner)
        elif self.by_epoch:
            head = f"Epoch({log_dict['mode']}) [{log_dict['epoch']}][{log_dict['iter']}]\t"
        else:
            head = f"Iter({log_dict['mode']}) [{log_dict['iter']}]\t"
        rest = [f"{name}: {_as_text(value)}" for name, value in log_dict.items() if name not in _IN_HEAD]
        runner.logger.info(head + ", ".join(rest))

    def _train_head(self, log_dict: dict[str, Any], runner: Any) -> str:
        lr = log_dict["lr"]
        lrs = {f"lr_{name}": value for name, value in lr.items()} if isinstance(lr, dict) else {"lr": lr}
        if self.by_epoch:
            place = f"Epoch [{log_dict['epoch']}][{log_dict['iter']}/{len(runner.data_loader)}]"
        else:
            place = f"Iter [{log_dict['iter']}/{runner.max_iters}]"
        head = f"{place}\t{' '.join(f'{name}: {value:.3e}' for name, value in lrs.items())}, "
        if "time" not in log_dict:
            return head
        self.time_sec_tot += log_dict["time"] * self.interval
        mean_s = self.time_sec_tot / (runner.iter - self.start_iter + 1)
        eta = datetime.timedelta(seconds=int(mean_s * (runner.max_iters - runner.iter - 1)))
        head += f"eta: {eta}, time: {log_dict['time']:.3f}, "
        if "data_time" in log_dict:  # not where a hook between has emptied the buffer
            head += f"data_time: {log_dict['data_time']:.3f}, "
        return head + f"memory: {log_dict['memory']}, " if "memory" in log_dict else head

    def _dump_log(self, log_dict: Mapping[str, Any], runner: Any) -> None:
        if runner.rank != 0:
            return
        line = dump({name: self._round_float(value) for name, value in log_dict.items()}, file_format="json")
        with open(self.json_log_path, "a+", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def _round_float(self, items: Any) -> Any:
        if isinstance(items, list):
            return [self._round_float(item) for item in items]
        return round(items, 5) if isinstance(items, float) else items

    def after_run(self, runner: Any) -> None:
        """Copy the files to ``out_dir``."""
        if self.out_dir is None or runner.rank != 0:
            return
        for name in scandir(runner.work_dir, self.out_suffix, True):
            path, target = os.path.join(runner.work_dir, name), self.file_client.join_path(self.out_dir, name)
            with open(path, encoding="utf-8") as file:
                self.file_client.put_text(file.read(), target)
            runner.logger.info(f"The file {path} is copied to {target}.")
            if not self.keep_local:
                os.remove(path)
                runner.logger.info(f"{path} was removed, because of keep_local=False.")


def _as_text(value: Any) -> Any:
    return f"{value:.4f}" if isinstance(value, float) else value
