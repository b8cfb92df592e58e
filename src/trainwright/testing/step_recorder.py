"""A hook that records one step of a training, whatever comes out of it."""

from __future__ import annotations

import copy
import os
import tempfile
from typing import Any

from trainwright.checkpoint import StepRecord, read_file, write_step_record
from trainwright.engine import Hook
from trainwright.hooks.gradient_norms import watch_norms, wrappers_by_name
from trainwright.registry import HOOKS


@HOOKS.register_module()
class RecordStepHook(Hook):
    """Records iteration ``at`` (1 or more) in ``folder``, then asks for the end of the training."""

    priority = "LOWEST"

    def __init__(self, at: int, folder: str, with_config: bool = True) -> None:
        self.at, self.folder, self.with_config = at, folder, with_config
        self._tree: dict[str, Any] = {}
        self._batch: Any = None
        self._norms: dict[str, Any] = {}

    def before_train(self, runner: Any) -> None:
        """Watch the updates."""
        for name, wrapper in wrappers_by_name(runner.optim_wrapper).items():
            self._watch(name, wrapper)

    def _watch(self, name: str, wrapper: Any) -> None:
        norms, _ = watch_norms(wrapper, lambda: self._norms.update({name: norms.total()}))

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Keep the batch of the step, and the norms of its update alone."""
        self._norms.clear()
        self._batch = copy.deepcopy(data_batch) if runner.iter == self.at else None

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Keep the state before the step; write the step."""
        if runner.iter + 1 == self.at:
            with tempfile.TemporaryDirectory() as folder:
                runner.save_checkpoint(folder, "state.pth")
                self._tree = read_file(os.path.join(folder, "state.pth"))
        if runner.iter != self.at:
            return
        record = StepRecord(
            iteration=runner.iter,
            epoch=runner.epoch,
            batch_idx=batch_idx,
            reason="it was asked for",
            policy="stop",
            losses={name: value.item() for name, value in (outputs or {}).items()},
            grad_norms={name: float(norm) for name, norm in self._norms.items()},
            device=str(runner.strategy.device),
            seed=runner.seed,
        )
        config = runner.cfg if self.with_config else None
        write_step_record(self.folder, self._tree, record, batch=self._batch, config=config)
        runner.ctx.stop.request("recorded")
