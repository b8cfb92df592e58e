"""Pavi."""

from __future__ import annotations

import json
import os
import warnings
from functools import partial
from typing import Any

import torch
import yaml

from trainwright.compat.mmcv1.errors import demand
from trainwright.compat.mmcv1.fileio import dump
from trainwright.compat.mmcv1.parallel import is_module_wrapper, scatter
from trainwright.compat.mmcv1.runner.dist_utils import master_only
from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS
from trainwright.compat.mmcv1.runner.hooks.logger.base import LoggerHook
from trainwright.compat.mmcv1.utils import Config


@HOOKS.register_module()
class PaviLoggerHook(LoggerHook):
    """Scalars, graphs and checkpoints of a Pavi training.

    ``init_kwargs``: arguments of Pavi's SummaryWriter; name, model and the config's text are filled in.
    ``add_graph_kwargs``: ``active``, and from which epoch or iteration (``start``) in which ``interval`` the graph is
    drawn, ``img_key``, ``opset_version`` and ``dummy_forward_kwargs``. ``add_ckpt_kwargs``: ``active``, ``start`` and
    ``interval`` of uploading checkpoints; ``add_last_ckpt`` uploads the last one.
    """

    def __init__(
        self,
        init_kwargs: dict[str, Any] | None = None,
        add_graph: bool | None = None,
        img_key: str | None = None,
        add_last_ckpt: bool = False,
        interval: int = 10,
        ignore_last: bool = True,
        reset_flag: bool = False,
        by_epoch: bool = True,
        add_graph_kwargs: dict[str, Any] | None = None,
        add_ckpt_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(interval, ignore_last, reset_flag, by_epoch)
        self.init_kwargs = init_kwargs
        graph = add_graph_kwargs or {}
        self.add_graph = graph.get("active", False)
        self.add_graph_start = graph.get("start", 0)
        self.add_graph_interval = graph.get("interval", 1)
        self.img_key = graph.get("img_key", "img")
        self.opset_version = graph.get("opset_version", 11)
        self.dummy_forward_kwargs = graph.get("dummy_forward_kwargs", {})
        if add_graph is not None:
            _say_moved("add_graph", "active")
            self.add_graph = add_graph
        if img_key is not None:
            _say_moved("img_key", "img_key")
            self.img_key = img_key
        ckpt = add_ckpt_kwargs or {}
        self.add_ckpt = ckpt.get("active", False)
        self.add_last_ckpt = add_last_ckpt
        self.add_ckpt_start = ckpt.get("start", 0)
        self.add_ckpt_interval = ckpt.get("interval", 1)

    def _begin(self, runner: Any) -> None:
        pavi: Any = self.package("pavi", "pavi")
        self.run_name = runner.work_dir.split("/")[-1]
        self.init_kwargs = self.init_kwargs or {}
        self.init_kwargs.setdefault("name", self.run_name)
        self.init_kwargs.setdefault("model", runner._model_name)
        config = _config_of(runner.meta or {})
        if config is not None:
            config.setdefault("max_iter", runner.max_iters)  # Pavi's progress goes by this name
            as_plain = json.loads(dump(config, file_format="json"))
            self.init_kwargs.setdefault("session_text", yaml.dump(as_plain))
        self.writer = pavi.SummaryWriter(**self.init_kwargs)

    def get_step(self, runner: Any) -> int:
        """The epoch for validation by epoch, else the iteration."""
        by_epoch = self.get_mode(runner) == "val" and self.by_epoch
        return self.get_epoch(runner) if by_epoch else self.get_iter(runner)

    def _add_ckpt(self, runner: Any, ckpt_path: str, step: int) -> None:
        if os.path.islink(ckpt_path):
            ckpt_path = os.path.join(runner.work_dir, os.readlink(ckpt_path))
        if os.path.isfile(ckpt_path):
            self.writer.add_snapshot_file(tag=self.run_name, snapshot_file_path=ckpt_path, iteration=step)

    def _add_graph(self, runner: Any, step: int) -> None:
        model = runner.model.module if is_module_wrapper(runner.model) else runner.model
        # Of a loader that goes round and round, a batch from the one inside.
        loader = getattr(runner.data_loader, "_dataloader", runner.data_loader)
        device = next(model.parameters()).device
        data = scatter(next(iter(loader)), [-1 if device.type == "cpu" else device.index])[0]
        forward = model.forward
        drawn = getattr(model, "forward_dummy", forward)
        try:
            model.forward = partial(drawn, **self.dummy_forward_kwargs) if self.dummy_forward_kwargs else drawn
            with torch.no_grad():
                tag = f"{self.run_name}_{step}"
                self.writer.add_graph(model, data[self.img_key], tag=tag, opset_version=self.opset_version)
        finally:
            model.forward = forward

    @master_only
    def log(self, runner: Any) -> None:
        """Write the tags under their mode."""
        tags = self.get_loggable_tags(runner, add_mode=False)
        self.writer.add_scalars(self.get_mode(runner), tags, self.get_step(runner))

    @master_only
    def after_run(self, runner: Any) -> None:
        """Upload the last checkpoint; close the writer."""
        if self.add_last_ckpt:
            step = runner.epoch if self.by_epoch else runner.iter
            self._add_ckpt(runner, os.path.join(runner.work_dir, "latest.pth"), step)
        self.writer.close()

    @master_only
    def _draw_if_due(self, runner: Any, step: int) -> None:
        if self.add_graph and _is_due(step, self.add_graph_start, self.add_graph_interval):
            self._add_graph(runner, step)

    @master_only
    def _upload_if_due(self, runner: Any, kind: str, step: int) -> None:
        if self.add_ckpt and _is_due(step, self.add_ckpt_start, self.add_ckpt_interval):
            self._add_ckpt(runner, os.path.join(runner.work_dir, f"{kind}_{step}.pth"), step)

    def before_train_epoch(self, runner: Any) -> None:
        """Draw the graph by epoch."""
        super().before_train_epoch(runner)
        if self.by_epoch:
            self._draw_if_due(runner, self.get_epoch(runner))

    def before_train_iter(self, runner: Any) -> None:
        """Draw the graph by iteration."""
        super().before_train_iter(runner)
        if not self.by_epoch:
            self._draw_if_due(runner, self.get_iter(runner))

    def after_train_epoch(self, runner: Any) -> None:
        """Log what is left; upload by epoch."""
        super().after_train_epoch(runner)
        if self.by_epoch:
            self._upload_if_due(runner, "epoch", self.get_epoch(runner))

    def after_train_iter(self, runner: Any) -> None:
        """Log; upload by iteration."""
        super().after_train_iter(runner)
        if not self.by_epoch:
            self._upload_if_due(runner, "iter", self.get_iter(runner))


def _is_due(step: int, start: int, interval: int) -> bool:
    return step >= start and (step - start) % interval == 0


def _say_moved(name: str, key: str) -> None:
    warnings.warn(
        f"PaviLoggerHook {name} goes away: say it as add_graph_kwargs=dict({key}=...)", DeprecationWarning, stacklevel=3
    )


def _config_of(meta: dict[str, Any]) -> dict[str, Any] | None:
    """The config that the runner's meta has, or names; a copy."""
    if "config_dict" in meta:
        config = meta["config_dict"]
        demand(isinstance(config, dict), f"meta['config_dict'] must be a dict, got {config!r}")
        return dict(config)
    return dict(Config.fromfile(meta["config_file"])) if "config_file" in meta else None
