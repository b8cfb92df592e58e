"""Training counted in epochs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from trainwright.compat.mmcv1.errors import demand
from trainwright.compat.mmcv1.runner.base_runner import BaseRunner, check_workflow
from trainwright.compat.mmcv1.runner.builder import RUNNERS
from trainwright.engine import Phase
from trainwright.engine.loops.workflow import Turn, run_epoch, run_rounds, run_units
from trainwright.engine.passes import PassReader
from trainwright.state import Completing


@RUNNERS.register_module()
class EpochBasedRunner(BaseRunner):
    """Trains epoch by epoch. A subclass may override any method; ``train`` and ``val`` run one epoch each."""

    unit = "epochs"
    _readers: tuple[PassReader, ...] = ()
    _is_in_span = False

    def run_iter(self, data_batch: Any, train_mode: bool, **kwargs: Any) -> None:
        """One step: its result, a dict, is put on the runner as ``outputs``."""
        if self.batch_processor is not None:
            outputs = self.batch_processor(self.model, data_batch, train_mode=train_mode, **kwargs)
        elif train_mode:
            outputs = self.model.train_step(data_batch, self.optimizer, **kwargs)
        else:
            outputs = self.model.val_step(data_batch, self.optimizer, **kwargs)
        self._keep_outputs(outputs, '"batch_processor()" or "model.train_step()" and "model.val_step()"')

    def train(self, data_loader: Any, **kwargs: Any) -> None:
        """An epoch of training."""
        self.model.train()
        self.mode = "train"
        self.data_loader = data_loader
        self._max_iters = self._max_epochs * len(self.data_loader)
        if not self._is_under_way:
            self._start([data_loader], [("train", 1)])
        if self._resumption is None or not self._resumption.is_inside_epoch:
            self.ctx.clock.inner_iter = 0
        self._run_epoch(Phase.TRAIN, partial(self.run_iter, train_mode=True, **kwargs))

    @torch.no_grad()
    def val(self, data_loader: Any, **kwargs: Any) -> None:
        """An epoch of validation."""
        self.model.eval()
        self.mode = "val"
        self.data_loader = data_loader
        self._run_epoch(Phase.VAL, partial(self.run_iter, train_mode=False))

    def _run_epoch(self, phase: Phase, step: Callable[[Any], Any]) -> None:
        self._stages.rebuild()
        self._is_in_span = True
        try:
            run_epoch(self.ctx, phase, self._enter, self._presenting(phase, step))
        finally:
            self._is_in_span = False

    def _enter(self) -> Iterator[Any]:
        batches = self._reader().enter(self.epoch)
        self._settle()
        return batches

    def _reader(self) -> PassReader:
        """What reads the loader of the epoch, which hooks may have changed."""
        loader, turn = self.data_loader, self._turn
        if turn is not None and turn.phase < len(self._readers) and self._readers[turn.phase].loader is loader:
            return self._readers[turn.phase]
        return PassReader(loader)

    def _places(self) -> list[dict[str, Any]]:
        n_used = self.ctx.clock.as_completed().inner_iter
        running = self._turn.phase if self._turn is not None and n_used else None
        return [reader.state_dict(n_used if i == running else None) for i, reader in enumerate(self._readers)]

    def _is_exact(self) -> bool:
        # Where an epoch of the user's own stands in its loader only that knows.
        return self._is_in_span or self.ctx.clock.completing is not Completing.ITERATION

    def run(
        self, data_loaders: list[Any], workflow: list[tuple[str, int]], max_epochs: int | None = None, **kwargs: Any
    ) -> None:
        """Run the phases of ``workflow``, (mode, epochs) each with its loader, in turn until the last epoch is done.

        A mode is the name of a method, which is called with the loader for each epoch.
        """
        check_workflow(data_loaders, workflow)
        if max_epochs is not None:
            warnings.warn(
                "setting max_epochs in run is deprecated, give it to the runner", DeprecationWarning, stacklevel=2
            )
            self._max_epochs = max_epochs
        demand(self._max_epochs is not None, "max_epochs must be specified: EpochBasedRunner(..., max_epochs=12)")
        for (mode, _), loader in zip(workflow, data_loaders, strict=True):
            if mode == "train":
                self._max_iters = self._max_epochs * len(loader)
                break
        self._announce(workflow, f"{self._max_epochs} epochs")
        self.call_hook("before_run")
        turn = self._start(data_loaders, workflow)

        def run_share(index: int, n: int) -> None:
            mode = workflow[index][0]
            run_one = partial(self._unit_method(mode), data_loaders[index], **kwargs)
            run_units(n, turn, lambda: not stop.requested and (mode != "train" or not is_over()), run_one)

        def is_over() -> bool:
            return stop.requested or self.epoch >= self._max_epochs

        stop = self.ctx.stop
        with self._under_way():
            run_rounds(workflow, turn, is_over, run_share)
        self.call_hook("after_run")

    def _start(self, data_loaders: list[Any], workflow: list[tuple[str, int]]) -> Turn:
        """Begin, or go on where the checkpoint that was resumed stands."""
        turn = self._begin(workflow)
        self._readers = tuple(PassReader(loader) for loader in data_loaders)
        for index, reader in enumerate(self._readers):
            reader.load_state_dict(self._place_of(index) or {})
        if self._resumption is not None and not self._resumption.is_inside_epoch:
            self._settle()
        return turn

    def _unit_method(self, mode: Any) -> Callable[..., Any]:
        if not isinstance(mode, str):
            raise TypeError(f"mode in workflow must be a str, but got {mode!r} of {type(mode)}")
        if not hasattr(self, mode):
            raise ValueError(f'runner has no method named "{mode}" to run an epoch')
        return getattr(self, mode)  # type: ignore[no-any-return]

    def save_checkpoint(
        self,
        out_dir: str,
        filename_tmpl: str = "epoch_{}.pth",
        save_optimizer: bool = True,
        meta: dict[str, Any] | None = None,
        create_symlink: bool = True,
    ) -> None:
        """Write a checkpoint; its name gets the number of the running epoch, counted from 1, and ``latest.pth`` then
        points to it."""
        self._save((out_dir, filename_tmpl.format(self.epoch + 1)), meta, save_optimizer, create_symlink)


@RUNNERS.register_module()
class Runner(EpochBasedRunner):
    """The old name of EpochBasedRunner."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warnings.warn("Runner was deprecated, use EpochBasedRunner instead", DeprecationWarning, stacklevel=2)
        super().__init__(*args, **kwargs)
