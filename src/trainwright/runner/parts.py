"""The attributes that the published methods of Runner share; each has one owner and one type for life."""

from __future__ import annotations

import os
from typing import Any

from torch import nn

from trainwright.base.logs import MMLogger
from trainwright.checkpoint import CheckpointManager
from trainwright.checkpoint.async_save import AsyncSaver
from trainwright.config import Config
from trainwright.engine import HookTable
from trainwright.runner.checks.problem import Problem
from trainwright.runner.preemption import Preemption
from trainwright.state import MessageHub, RunContext
from trainwright.strategies import BaseStrategy


class RunnerParts:
    """The attributes that the mixins share; each has one owner and one type for life."""

    cfg: Config
    ctx: RunContext
    logger: MMLogger
    message_hub: MessageHub
    _optim_wrapper: Any  # None while it is not built; so are the schedulers
    _param_schedulers: Any
    strategy: BaseStrategy
    visualizer: Any
    log_processor: Any
    fast_dev_run: int
    preemption: Preemption  # of the training that runs, or ran last
    resume_command: str | None = None  # what takes the training up again, for the marker of a preempted run
    _specs: dict[str, Any]
    _configs: dict[str, Any]
    _warnings: list[Problem]
    _loops: dict[str, Any]
    _load_from: str | None
    _resume: bool | str
    _has_loaded: bool
    _managers: dict[str, CheckpointManager]
    _saver: AsyncSaver | None = None
    _pending_streams: dict[str, Any] | None
    _randomness_cfg: dict[str, Any]
    _earlier_log_dirs: list[str]
    _is_written: bool = True  # whether train() leaves something in work_dir, from which other runs must be kept

    @property
    def model(self) -> nn.Module:
        """The model, as the strategy has it."""
        return self.strategy.model

    @model.setter
    def model(self, model: nn.Module) -> None:
        self.strategy.model = model

    @property
    def optim_wrapper(self) -> Any:
        """The optimizer wrapper; its config while it is not built."""
        return self._specs["optim_wrapper"] if self._optim_wrapper is None else self._optim_wrapper

    @optim_wrapper.setter
    def optim_wrapper(self, value: Any) -> None:
        self._optim_wrapper = value

    @property
    def param_schedulers(self) -> Any:
        """The schedulers, a list or a dict of lists; what they are built from while they are not built."""
        return self._specs["param_scheduler"] if self._param_schedulers is None else self._param_schedulers

    @param_schedulers.setter
    def param_schedulers(self, value: Any) -> None:
        self._param_schedulers = value

    def _loop(self, name: str) -> Any:
        """The loop ``train``, ``val`` or ``test``, built when first asked for; None when there is none."""
        raise NotImplementedError

    @property
    def log_dirs(self) -> list[str]:
        """The log folders of this training, relative to ``work_dir``: one for each part between two resumes."""
        return [*self._earlier_log_dirs, os.path.relpath(self.strategy.log_dir, self.strategy.work_dir)]

    @property
    def _table(self) -> HookTable:
        table = self.ctx.hooks
        assert isinstance(table, HookTable)
        return table
