"""The checkpoint hook of MMCV 1.x."""

from __future__ import annotations

import warnings
from inspect import signature
from typing import Any

from trainwright.base.errors import ConfigTypeError
from trainwright.compat.mmcv1.runner.dist_utils import allreduce_params, master_only
from trainwright.compat.mmcv1.runner.hooks.files import delete_replaced, folder_of_run
from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS, Hook, is_method_of


@HOOKS.register_module()
class CheckpointHook(Hook):
    """Saves every ``interval`` epochs (``by_epoch``) or iterations, and at the end with ``save_last``.

    Checkpoints lie in the run's folder, or in the folder of its name inside ``out_dir``, written by the file client of
    ``file_client_args``. ``max_keep_ckpts`` of them stay (-1: all): older ones are deleted after the newest is
    published and found to be whole. ``sync_buffer`` averages the model's buffers over the ranks before. ``kwargs`` go
    to ``runner.save_checkpoint``: ``filename_tmpl`` with one ``{}`` for the number, ``create_symlink``, ``meta``. The
    newest is named in ``runner.meta["hook_msgs"]["last_ckpt"]``.
    """

    def __init__(
        self,
        interval: int = -1,
        by_epoch: bool = True,
        save_optimizer: bool = True,
        out_dir: str | None = None,
        max_keep_ckpts: int = -1,
        save_last: bool = True,
        sync_buffer: bool = False,
        file_client_args: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.interval = interval
        self.by_epoch = by_epoch
        self.save_optimizer = save_optimizer
        self.out_dir = out_dir
        self.max_keep_ckpts = max_keep_ckpts
        self.save_last = save_last
        self.args = kwargs
        self.sync_buffer = sync_buffer
        self.file_client_args = file_client_args
        self._settled: str | None = None  # the out_dir that has the run's name already

    def idle_at(self, stage: str) -> bool:
        """It saves by epoch or by iteration."""
        idle = "after_train_iter" if self.by_epoch else "after_train_epoch"
        return stage == idle and is_method_of(CheckpointHook, self, stage)

    def before_run(self, runner: Any) -> None:
        """Settle the folder."""
        if self._settled is None or self.out_dir != self._settled:
            self.file_client, folder = folder_of_run(self.out_dir, runner.work_dir, self.file_client_args)
            self.out_dir = self._settled = folder
        runner.logger.info(f"Checkpoints will be saved to {self.out_dir} by {self.file_client.name}.")
        if self.args.get("create_symlink") and not self.file_client.allow_symlink:
            warnings.warn(
                f"create_symlink=True, but {self.file_client.name} has no symbolic links: there will be none.",
                stacklevel=2,
            )
            self.args["create_symlink"] = False
        self.args.setdefault("create_symlink", self.file_client.allow_symlink)
        self._check_args(runner)
        self._catch_up(runner)

    def _check_args(self, runner: Any) -> None:
        """A misspelt ``interval`` would be noticed at the end of the training else."""
        try:
            signature(runner.save_checkpoint).bind(self.out_dir, save_optimizer=True, **self.args)
        except TypeError as error:
            raise ConfigTypeError(
                f"CheckpointHook has {', '.join(sorted(self.args))} besides its own settings, and hands them to "
                f"{type(runner).__name__}.save_checkpoint, which does not take them: {error}"
            ) from error

    @master_only
    def _catch_up(self, runner: Any) -> None:
        """Delete what a run that was killed right after its last save could not: there may be no further save."""
        if self.max_keep_ckpts < 1:
            return
        number = runner.epoch if self.by_epoch else runner.iter
        path = self.file_client.join_path(self.out_dir, self._template.format(number))
        if number and self.file_client.isfile(path):
            self._delete_older(number, path)

    @property
    def _template(self) -> str:
        return str(self.args.get("filename_tmpl", "epoch_{}.pth" if self.by_epoch else "iter_{}.pth"))

    def after_train_epoch(self, runner: Any) -> None:
        """Save by epoch."""
        if self.by_epoch and (
            self.every_n_epochs(runner, self.interval) or (self.save_last and self.is_last_epoch(runner))
        ):
            self._save(runner, f"{runner.epoch + 1} epochs")

    def after_train_iter(self, runner: Any) -> None:
        """Save by iteration."""
        if not self.by_epoch and (
            self.every_n_iters(runner, self.interval) or (self.save_last and self.is_last_iter(runner))
        ):
            self._save(runner, f"{runner.iter + 1} iterations")

    def _save(self, runner: Any, when: str) -> None:
        runner.logger.info(f"Saving checkpoint at {when}")
        if self.sync_buffer:
            allreduce_params(runner.model.buffers())
        runner.gather_run_state()
        self._save_checkpoint(runner)

    @master_only
    def _save_checkpoint(self, runner: Any) -> None:
        number = (runner.epoch if self.by_epoch else runner.iter) + 1
        name = self._template.format(number)
        runner.save_checkpoint(self.out_dir, save_optimizer=self.save_optimizer, **{**self.args, "filename_tmpl": name})
        path = self.file_client.join_path(self.out_dir, name)
        if runner.meta is not None:
            runner.meta.setdefault("hook_msgs", {})["last_ckpt"] = path
        self._delete_older(number, path)

    def _delete_older(self, number: int, newest: str) -> None:
        if self.max_keep_ckpts > 0 and self.interval > 0:
            delete_replaced(self.file_client, str(self.out_dir), self._too_old(number), newest)

    def _too_old(self, number: int) -> list[str]:
        """The checkpoints before those that stay, oldest first, so that a kill leaves no gap behind which the next save
        would not look."""
        found: list[str] = []
        for step in range(number - self.max_keep_ckpts * self.interval, 0, -self.interval):
            path = self.file_client.join_path(self.out_dir, self._template.format(step))
            if not self.file_client.isfile(path):
                break
            found.insert(0, path)
        return found
