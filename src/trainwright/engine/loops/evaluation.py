"""The loops of validation and test."""

from __future__ import annotations

from contextlib import nullcontext
from logging import DEBUG
from typing import Any

import torch

from trainwright.base.logs import print_log
from trainwright.engine.core import SpanEnd, open_phase, run_iter, run_span
from trainwright.engine.events import Phase
from trainwright.engine.loops.base import BaseLoop, length_or_none
from trainwright.registry import LOOPS


class EvalLoop(BaseLoop):
    """One pass over a loader without gradients, every batch handed to the evaluator.

    Order: before, before_epoch, iterations, ``evaluator.evaluate``, after_epoch with the metrics, after. ``fp16`` runs
    the steps under autocast. A stop request ends the pass at an iteration boundary: then there are no metrics and no
    after_epoch.
    """

    phase: Phase

    def __init__(self, runner: Any, dataloader: Any, evaluator: Any, fp16: bool = False) -> None:
        super().__init__(runner, dataloader)
        self.evaluator = runner.build_evaluator(evaluator) if isinstance(evaluator, (dict, list)) else evaluator
        self.fp16 = fp16
        self._n_seen = 0
        dataset = getattr(self.dataloader, "dataset", None)
        metainfo = getattr(dataset, "metainfo", None)
        if metainfo is None:
            print_log(f"{type(dataset).__name__} has no metainfo: evaluator and visualizer get none.", "current", DEBUG)
        else:
            self.evaluator.dataset_meta = metainfo
            runner.visualizer.dataset_meta = metainfo

    def run(self) -> dict[str, Any]:
        """Evaluate once; returns the metrics, empty when the pass was stopped."""
        ctx, phase = self.runner.ctx, self.phase
        self._n_seen = 0
        metrics: dict[str, Any] = {}
        with torch.no_grad(), open_phase(ctx, phase):
            ctx.hooks.fire(phase.before_epoch)
            self.runner.model.eval()
            end = run_span(ctx, iter(self.dataloader), self.run_iter)
            if end is not SpanEnd.STOP:
                metrics = self.evaluator.evaluate(self._n_samples())
                ctx.clock.val_due = False
                ctx.hooks.fire(phase.after_epoch, metrics)
        return metrics

    def _n_samples(self) -> int:
        """Size of the dataset; where there is none or it has no length, the number of outputs seen."""
        size = length_or_none(getattr(self.dataloader, "dataset", None))
        return self._n_seen if size is None else size

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """One iteration: before_*_iter, the step and ``evaluator.process``, after_*_iter."""
        run_iter(self.runner.ctx, self.phase, self._step, idx, data_batch)

    def _step(self, data_batch: Any) -> Any:
        strategy = self.runner.strategy
        step = strategy.val_step if self.phase is Phase.VAL else strategy.test_step
        with torch.autocast(strategy.device.type) if self.fp16 else nullcontext():
            outputs = step(data_batch)
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self._n_seen += length_or_none(outputs) or 0
        return outputs


@LOOPS.register_module()
class ValLoop(EvalLoop):
    """Validation (API of mmengine.runner.ValLoop); events before_val ... after_val."""

    phase = Phase.VAL


@LOOPS.register_module()
class TestLoop(EvalLoop):
    """Testing (API of mmengine.runner.TestLoop); events before_test ... after_test."""

    __test__ = False  # its name makes pytest take it for a test case
    phase = Phase.TEST
