"""The loops of validation and test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from logging import DEBUG
from typing import Any

import torch

from trainwright.base.errors import ConfigError, ConfigTypeError, add_note
from trainwright.base.logs import print_log
from trainwright.dist import all_gather_object, data_group
from trainwright.engine.core import SpanEnd, open_phase, run_iter, run_span
from trainwright.engine.events import Phase
from trainwright.engine.loops.base import BaseLoop, build_loader, length_or_none, limit_of, limited_length
from trainwright.engine.loops.losses import LossMeter, require_loss_mode, take_losses, with_own_containers
from trainwright.engine.loops.named import (
    NamedEvaluators,
    NamedLoaders,
    evaluators_by_name,
    is_loader,
    is_named,
    is_named_evaluator,
    list_error,
    unnamed_error,
)
from trainwright.engine.loops.share import Share, first_of_batch, first_of_outputs, share_of, size_of_batch
from trainwright.registry import LOOPS
from trainwright.state import rng


class EvalPass:
    """One pass over one set: how far it has come, and its losses."""

    def __init__(self, name: str | None, loader: Any, limit: int | None = None) -> None:
        self.name = name
        self.loader = loader
        self.limit = limit  # batches; None for all of them
        self.share: Share | None = share_of(loader)
        self.n_batches = self.n_seen = 0
        self.batch = 0  # index of the running one
        self.losses = LossMeter()
        self.has_model_losses = False

    def counted(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches of the loader."""
        for batch in batches if self.limit is None else islice(batches, self.limit):
            self.n_batches += 1
            yield batch

    def counts(self, data_batch: Any, outputs: Any) -> tuple[int, int]:
        """(samples in the running batch, how many of these, from the first on, are no repetitions)."""
        size, kept = (0, 0) if self.share is None else self.share.counts(self.batch)
        if size:
            return size, kept
        seen = size_of_batch(data_batch)
        size = (length_or_none(outputs) or 0) if seen is None else seen
        return size, size

    def n_samples(self) -> int:
        """Size of the dataset; where there is none, it has no length or a limit cuts it, what all ranks have seen."""
        size = length_or_none(getattr(self.loader, "dataset", None)) if self.limit is None else None
        return sum(all_gather_object(self.n_seen, data_group())) if size is None else size


class EvalLoop(BaseLoop):
    """One pass over a loader without gradients, every batch handed to the evaluator.

    Order: before, before_epoch, iterations, ``evaluator.evaluate``, after_epoch with the metrics, after. ``fp16`` runs
    the steps under autocast. With ``loss`` the model's losses are computed too, by a forward of their own, and join the
    metrics as means over the samples: ``loss``, and each term under its name. A stop request ends the pass at an
    iteration boundary: then there are no metrics and no after_epoch.

    With a dict of loaders by name there is a pass over each, in order, and an evaluator for each; to hooks they are one
    epoch: every event comes as with one loader, ``batch_idx`` goes on from set to set, and the metrics of all, as
    ``name/metric``, come together. ``running_set`` is the name of the set under way.

    What a sampler repeats to make the ranks even reaches neither evaluator nor losses. ``limit_batches``, a number or a
    fraction as a float, ends the pass over each set early; the metrics are those of what was seen.
    """

    phase: Phase

    def __init__(
        self,
        runner: Any,
        dataloader: Any,
        evaluator: Any,
        fp16: bool = False,
        loss: bool = False,
        limit_batches: int | float | None = None,
    ) -> None:
        what = self.phase.label
        self.limit_batches = limit_of(limit_batches, f"{what}_cfg.limit_batches")
        if isinstance(dataloader, (list, tuple)) and any(is_loader(item) for item in dataloader):
            raise ConfigError(list_error(type(self).__name__, what))
        if is_named(dataloader):
            parts = evaluators_by_name(evaluator, dataloader, what)
            loaders = {name: build_loader(runner, loader) for name, loader in dataloader.items()}
            super().__init__(runner, NamedLoaders(loaders))
            built = {name: runner.build_evaluator(part) for name, part in parts.items()}
            self.evaluator: Any = NamedEvaluators(built)
        else:
            if is_named_evaluator(evaluator):
                raise ConfigError(unnamed_error(evaluator, what))
            super().__init__(runner, dataloader)
            self.evaluator = runner.build_evaluator(evaluator) if isinstance(evaluator, (dict, list)) else evaluator
        self.fp16 = fp16
        self.loss = loss
        if loss:
            require_loss_mode(runner.strategy.unwrapped_model, f"{what}_cfg=dict(loss=True)")
        self._pass = EvalPass(None, self.dataloader)
        self._tell_metainfo()

    @property
    def pass_length(self) -> int | None:
        """Batches of one pass over all sets, under the limit; None where nobody knows."""
        lengths = [self._length_of(loader) for _, loader, _ in self._sets()]
        return None if None in lengths else sum(length for length in lengths if length is not None)

    def _length_of(self, loader: Any) -> int | None:
        return limited_length(loader, self.limit_batches, f"{self.phase.label}_cfg.limit_batches")

    def _limit(self, loader: Any) -> int | None:
        """How many batches of a loader are used; None for all of them."""
        length = None if self.limit_batches is None else self._length_of(loader)
        return None if length == length_or_none(loader) else length

    @property
    def running_set(self) -> str | None:
        """The name of the set under way, None where there is one set without a name."""
        return self._pass.name

    def _sets(self) -> list[tuple[str | None, Any, Any]]:
        """Name, loader and evaluator of each set, as they are now: users may put others into the attributes."""
        if isinstance(self.dataloader, NamedLoaders):
            return [(name, loader, self.evaluator[name]) for name, loader in self.dataloader.items()]
        return [(None, self.dataloader, self.evaluator)]

    def _tell_metainfo(self) -> None:
        for _, loader, evaluator in reversed(self._sets()):  # the visualizer is left with that of the first
            dataset = getattr(loader, "dataset", None)
            metainfo = getattr(dataset, "metainfo", None)
            if metainfo is None:
                print_log(f"{type(dataset).__name__} has no metainfo: evaluator, visualizer get none", "current", DEBUG)
            else:
                evaluator.dataset_meta = metainfo
                self.runner.visualizer.dataset_meta = metainfo

    def run(self) -> dict[str, Any]:
        """Evaluate once; returns the metrics, empty when the pass was stopped."""
        ctx, phase = self.runner.ctx, self.phase
        metrics: dict[str, Any] | None = None
        with torch.no_grad(), open_phase(ctx, phase):
            ctx.hooks.fire(phase.before_epoch)
            self.runner.model.eval()
            metrics = self._run_sets()
            if metrics is not None:
                ctx.clock.val_due = False
                ctx.hooks.fire(phase.after_epoch, metrics)
        return metrics or {}

    def _run_sets(self) -> dict[str, Any] | None:
        """The metrics of all sets, None when a stop was asked for."""
        stop = self.runner.ctx.stop
        metrics: dict[str, Any] = {}
        done = 0
        for name, loader, evaluator in self._sets():
            self._pass = EvalPass(name, loader, self._limit(loader))
            if name is not None:
                self.evaluator.running = name
                self.runner.visualizer.dataset_meta = getattr(evaluator, "dataset_meta", None)
            if hasattr(evaluator, "discard"):
                evaluator.discard()  # of a pass that was stopped, or failed
            batches = self._pass.counted(self.runner.strategy.batches(loader))
            end = run_span(self.runner.ctx, batches, self.run_iter, start=done)
            if end is SpanEnd.STOP or (stop.may_evaluate is not None and not stop.may_evaluate()):
                return None
            done += self._pass.n_batches
            found = self._with_losses(evaluator.evaluate(self._pass.n_samples()))
            metrics.update(found if name is None else {f"{name}/{key}": value for key, value in found.items()})
        return metrics

    def _with_losses(self, metrics: dict[str, Any]) -> dict[str, Any]:
        if not self.loss and not self._pass.has_model_losses:
            return metrics
        means: dict[str, Any] = self._pass.losses.means()
        if self._pass.has_model_losses:  # under MMEngine's name for the sum as well
            total = means.get("loss") if self.loss else means.pop("loss", None)
            means[f"{self.phase.label}_loss"] = total
        for name in means:
            if name in metrics:
                raise ConfigError(
                    f"a metric and a loss term of the model both have the name {name!r}. Give the metric a prefix=..., "
                    f"or leave out {self.phase.label}_cfg=dict(loss=True)."
                )
        return {**metrics, **means}

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """One iteration: before_*_iter, the step and ``evaluator.process``, after_*_iter."""
        # A subclass's own run() gives the index within its set; here it goes on from set to set.
        self._pass.batch = self._pass.n_batches - 1 if self._pass.n_batches else idx
        run_iter(self.runner.ctx, self.phase, self._step, idx, data_batch)

    def _step(self, data_batch: Any) -> Any:
        strategy = self.runner.strategy
        step = strategy.val_step if self.phase is Phase.VAL else strategy.test_step
        untouched = with_own_containers(data_batch) if self.loss else data_batch
        with self._autocast():
            outputs, losses = take_losses(step(data_batch))
        size, kept = self._pass.counts(data_batch, outputs)
        counted, samples = outputs, data_batch
        if 0 < kept < size:
            counted, samples = first_of_outputs(outputs, size, kept), first_of_batch(data_batch, size, kept)
            untouched = first_of_batch(untouched, size, kept)
        if kept or not size:
            self.evaluator.process(data_samples=counted, data_batch=samples)
        self._pass.n_seen += kept
        # Last: the losses of some models write into the samples.
        self._add_losses(losses, untouched, kept)
        return outputs

    def _add_losses(self, losses: dict[str, Any] | None, samples: Any, n_samples: int) -> None:
        """The losses of a batch: those that came with its predictions, else, where they are asked for, the model's."""
        strategy = self.runner.strategy
        if losses is not None:
            self._pass.has_model_losses = True
            self._pass.losses.add(strategy.unwrapped_model.parse_losses(losses)[1], n_samples)
        elif self.loss:
            # Predictions that draw random numbers are the same with and without the losses.
            with self._autocast(), rng.set_aside() if strategy.keyed else nullcontext():
                self._pass.losses.add(strategy.eval_losses(samples), n_samples)

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.runner.strategy.device.type) if self.fp16 else nullcontext()


@LOOPS.register_module()
class ValLoop(EvalLoop):
    """Validation (API of mmengine.runner.ValLoop); events before_val ... after_val.

    With ``sanity_batches`` so many batches of each set are evaluated before a training begins (not before a resumed one
    goes on), so that what is broken is found then. Nobody sees these metrics: there are no events, and nothing that
    training or a later validation draws at random changes.
    """

    phase = Phase.VAL

    def __init__(
        self,
        runner: Any,
        dataloader: Any,
        evaluator: Any,
        fp16: bool = False,
        loss: bool = False,
        limit_batches: int | float | None = None,
        sanity_batches: int = 0,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16, loss, limit_batches)
        if isinstance(sanity_batches, bool) or not isinstance(sanity_batches, int):
            raise ConfigTypeError(f"val_cfg.sanity_batches must be a whole number, but got {sanity_batches!r}.")
        if sanity_batches < 0:
            raise ConfigError(f"val_cfg.sanity_batches must be at least 0, but got {sanity_batches}.")
        self.sanity_batches = sanity_batches

    def check(self) -> dict[str, Any]:
        """Evaluate ``sanity_batches`` batches of each set, for nobody; returns the metrics."""
        what = f"the check of validation before training (val_cfg.sanity_batches={self.sanity_batches})"
        try:
            with torch.no_grad(), rng.set_aside():
                self.runner.model.eval()
                metrics = self._check_sets()
        except Exception as error:
            add_note(error, f"This happened in {what}.")
            raise
        self.runner.logger.info("%s passed: %s", what, ", ".join(metrics) or "no metrics")
        return metrics

    def _check_sets(self) -> dict[str, Any]:
        metrics: dict[str, Any] = {}
        for name, loader, evaluator in self._sets():
            batches = self.runner.strategy.batches(loader)
            if batches is loader:
                raise ConfigError(
                    f"val_dataloader is a {type(loader).__name__}, which can be read only once: give one that begins "
                    "anew for each validation, or set val_cfg=dict(sanity_batches=0)."
                )
            limit = self._limit(loader)
            self._pass = EvalPass(name, loader, min(self.sanity_batches, limit or self.sanity_batches))
            if name is not None:
                self.evaluator.running = name
            for batch in self._pass.counted(batches):
                self._pass.batch = self._pass.n_batches - 1
                self._step(batch)
            found = self._with_losses(evaluator.evaluate(self._pass.n_samples()))
            metrics.update(found if name is None else {f"{name}/{key}": value for key, value in found.items()})
        return metrics


@LOOPS.register_module()
class TestLoop(EvalLoop):
    """Testing (API of mmengine.runner.TestLoop); events before_test ... after_test."""

    __test__ = False  # its name makes pytest take it for a test case
    phase = Phase.TEST
