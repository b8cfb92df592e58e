"""Training counted in iterations."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch

from trainwright.compat.mmcv1.errors import demand
from trainwright.compat.mmcv1.runner.base_runner import BaseRunner, check_workflow
from trainwright.compat.mmcv1.runner.builder import RUNNERS
from trainwright.compat.mmcv1.runner.hooks.iter_timer import IterTimerHook
from trainwright.engine import Phase, run_iter, run_span
from trainwright.engine.loops.base import no_batch_error
from trainwright.engine.loops.workflow import run_rounds
from trainwright.engine.passes import PassReader, tell_sampler


class IterLoader:
    """The batches of a loader without an end: pass after pass, whose number the sampler is told."""

    def __init__(self, dataloader: Any, place: dict[str, Any] | None = None) -> None:
        place = place or {}
        self._dataloader = dataloader
        self._epoch: int = place.get("pass", 0)
        self._n_used: int = place.get("n_used_of_pass", 0)
        self._reader = PassReader(dataloader)
        self._reader.load_state_dict(place)
        self._left_at: dict[str, Any] | None = None
        if self._epoch:
            tell_sampler(dataloader, self._epoch)
        self.iter_loader: Iterator[Any] = self._reader.enter(self._epoch)

    @property
    def epoch(self) -> int:
        """How many passes are behind the running one."""
        return self._epoch

    def __next__(self) -> Any:
        if self._n_used == 0:
            self._reader.before_first()
        try:
            data = next(self.iter_loader)
        except StopIteration:
            self._epoch += 1
            self._n_used = 0
            tell_sampler(self._dataloader, self._epoch)
            self.iter_loader = self._reader.enter(self._epoch)
            try:
                data = next(self.iter_loader)
            except StopIteration:
                raise no_batch_error() from None
        self._n_used += 1
        return data

    def __len__(self) -> int:
        return len(self._dataloader)

    def state_dict(self) -> dict[str, Any]:
        """Where it stands: for the ``place`` of another one."""
        if self._left_at is not None:
            return self._left_at
        return {"pass": self._epoch, "n_used_of_pass": self._n_used, **self._reader.state_dict(self._n_used)}

    def leave(self) -> None:
        """Let go of the pass and of the workers that read it; where it stood is remembered."""
        self._left_at, self.iter_loader = self.state_dict(), iter(())


@RUNNERS.register_module()
class IterBasedRunner(BaseRunner):
    """Trains iteration by iteration, with no end between passes over the data.

    A subclass may override any method; ``train`` and ``val`` run one iteration each. Where they are not overridden, an
    iteration goes past them.
    """

    unit = "iterations"
    _iter_loaders: tuple[IterLoader, ...] = ()

    def train(self, data_loader: Any, **kwargs: Any) -> None:
        """An iteration of training, with the next batch of an IterLoader."""
        self._run_span(Phase.TRAIN, data_loader, 1, kwargs, lambda: True)

    @torch.no_grad()
    def val(self, data_loader: Any, **kwargs: Any) -> None:
        """An iteration of validation, with the next batch of an IterLoader."""
        self._run_span(Phase.VAL, data_loader, 1, kwargs, lambda: True)

    def _train_step(self, data_batch: Any, **kwargs: Any) -> None:
        outputs = self.model.train_step(data_batch, self.optimizer, **kwargs)
        self._keep_outputs(outputs, "model.train_step()")

    def _val_step(self, data_batch: Any, **kwargs: Any) -> None:
        self._keep_outputs(self.model.val_step(data_batch, **kwargs), "model.val_step()")

    def _run_span(self, phase: Phase, loader: Any, n: int, kwargs: Any, goes_on: Callable[[], bool]) -> None:
        """Up to ``n`` iterations."""
        if not self._is_under_way:
            self._stages.rebuild()
            if self._resumption is not None:
                self._resumption.put_hooks(self)
                self._settle()
        ctx, turn = self.ctx, self._turn if self._is_under_way else None
        step = partial(self._train_step if phase.trains else self._val_step, **kwargs)

        def iterate(_: int, batch: Any) -> None:
            self.data_batch = batch
            run_iter(ctx, phase, step, self._inner_iter, batch)
            del self.data_batch
            self._inner_iter += 1
            if turn is not None:
                turn.done += 1

        run_span(ctx, self._batches(phase, loader, goes_on), iterate, limit=n)

    def _batches(self, phase: Phase, loader: Any, goes_on: Callable[[], bool]) -> Iterator[Any]:
        # Each time, as in MMCV: a hook that evaluates leaves the model, or a part of it, in the other mode.
        set_mode = self.model.train if phase.trains else self.model.eval
        while goes_on():
            set_mode()
            self.mode = phase.label
            self.data_loader = loader
            if phase.trains:
                self._epoch = loader.epoch
            yield next(loader)

    def _places(self) -> list[dict[str, Any]]:
        return [loader.state_dict() for loader in self._iter_loaders]

    def run(
        self, data_loaders: list[Any], workflow: list[tuple[str, int]], max_iters: int | None = None, **kwargs: Any
    ) -> None:
        """Run the phases of ``workflow``, (mode, iterations) each with its loader, in turn until all are done.

        A mode is the name of a method, which is called with an IterLoader for each iteration.
        """
        check_workflow(data_loaders, workflow)
        if max_iters is not None:
            warnings.warn(
                "setting max_iters in run is deprecated, give it to the runner", DeprecationWarning, stacklevel=2
            )
            self._max_iters = max_iters
        demand(self._max_iters is not None, "max_iters must be specified: IterBasedRunner(..., max_iters=1000)")
        self._announce(workflow, f"{self._max_iters} iters")
        self.call_hook("before_run")
        turn = self._begin(workflow)
        self._iter_loaders = tuple(IterLoader(x, self._place_of(i)) for i, x in enumerate(data_loaders))
        self.call_hook("before_epoch")
        self._settle()
        with self._under_way():
            run_rounds(
                workflow,
                turn,
                lambda: self.ctx.stop.requested or self.iter >= self._max_iters,
                lambda index, n: self._run_share(workflow[index][0], self._iter_loaders[index], n, kwargs),
            )
        self.call_hook("after_epoch")
        self.call_hook("after_run")
        for loader in self._iter_loaders:
            loader.leave()

    def _run_share(self, mode: Any, loader: IterLoader, n: int, kwargs: Any) -> None:
        if not isinstance(mode, str) or not hasattr(self, mode):
            raise ValueError(f'runner has no method named "{mode}" to run a workflow')
        turn, stop = self._turn, self.ctx.stop
        assert turn is not None
        self._inner_iter = turn.done
        self._stages.rebuild()
        method = getattr(self, mode)
        phase = PLAIN.get(getattr(method, "__func__", None))

        def goes_on() -> bool:
            return not stop.requested and (mode != "train" or self._iter < self._max_iters)

        if phase is not None and phase.label == mode:
            with nullcontext() if phase.trains else torch.no_grad():
                self._run_span(phase, loader, n, kwargs, goes_on)
            return

        def turns() -> Iterator[None]:
            while goes_on():
                yield None

        def iterate(_: int, __: Any) -> None:
            done = turn.done
            method(loader, **kwargs)
            turn.done = done + 1  # it may have counted itself, through super().train()

        run_span(self.ctx, turns(), iterate, limit=n)

    def resume(self, checkpoint: str, resume_optimizer: bool = True, map_location: Any = "default") -> None:
        """Go on from a checkpoint: weights, optimizer, counters. ``run`` then goes on where it was saved.

        Files of MMCV count one iteration less than were made, and their ``meta`` is not taken over.
        """
        tree = self._loaded(checkpoint, map_location)
        meta = tree["meta"]
        self._epoch, self._iter, self._inner_iter = meta["epoch"], meta["iter"], meta["iter"]
        if self._resume_exactly(tree):
            self.meta = meta
            self._inner_iter = self._iter
        self._resume_optimizer(tree, resume_optimizer)
        self.logger.info("resumed from epoch: %d, iter %d", self._epoch, self._iter)

    def save_checkpoint(  # type: ignore[override]
        self,
        out_dir: str,
        filename_tmpl: str = "iter_{}.pth",
        meta: dict[str, Any] | None = None,
        save_optimizer: bool = True,
        create_symlink: bool = True,
    ) -> None:
        """Write a checkpoint; its name gets the number of the running iteration, counted from 1, and ``latest.pth``
        then points to it."""
        self._save((out_dir, filename_tmpl.format(self.iter + 1)), meta, save_optimizer, create_symlink)

    def register_training_hooks(  # type: ignore[override]
        self,
        lr_config: Any,
        optimizer_config: Any = None,
        checkpoint_config: Any = None,
        log_config: Any = None,
        momentum_config: Any = None,
        custom_hooks_config: Any = None,
    ) -> None:
        """Add the hooks of a training; rates, checkpoints and loggers count iterations unless told otherwise."""
        if isinstance(log_config, dict):
            log_config = log_config.copy()
            log_config["hooks"] = [_by_iteration(info) for info in log_config["hooks"]]
        super().register_training_hooks(
            lr_config=_by_iteration(lr_config),
            momentum_config=momentum_config,
            optimizer_config=optimizer_config,
            checkpoint_config=_by_iteration(checkpoint_config),
            log_config=log_config,
            timer_config=IterTimerHook(),
            custom_hooks_config=custom_hooks_config,
        )


def _by_iteration(config: Any) -> Any:
    if not isinstance(config, dict):
        return config
    config = config.copy()
    config.setdefault("by_epoch", False)
    return config


PLAIN: dict[Any, Phase] = {IterBasedRunner.train: Phase.TRAIN, IterBasedRunner.val: Phase.VAL}
