"""How runners save checkpoints and go on from them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from torch.optim import Optimizer

from trainwright.base.errors import ConfigError
from trainwright.checkpoint import CheckpointManager
from trainwright.compat.mmcv1.errors import LackingError
from trainwright.compat.mmcv1.runner import exact
from trainwright.compat.mmcv1.runner.weights import checkpoint_tree, point_latest, write_checkpoint
from trainwright.config.reading.files import ReadOptions, read_string
from trainwright.engine.loops.workflow import Plan, Turn
from trainwright.state import RunContext
from trainwright.strategies.adopt import unwrapped


class ResumingMixin:
    """The part of a runner that saves and resumes.

    A checkpoint has MMCV's keys with MMCV's numbers, and under a key of its own what it takes to go on exactly. A file
    of MMCV itself has none, and is gone on from as MMCV does.
    """

    ctx: RunContext
    unit: ClassVar[str]
    model: Any
    optimizer: Any
    logger: logging.Logger
    meta: dict[str, Any] | None
    _epoch: int
    _iter: int
    _inner_iter: int
    _plan: Plan
    _turn: Turn | None
    _resumption: exact.Resumption | None
    _is_under_way = False  # a run() of ours, and no other that a user has written
    _rank: int
    _world_size: int
    _swept: frozenset[str] = frozenset()  # folders

    def resume(self, checkpoint: str, resume_optimizer: bool = True, map_location: Any = "default") -> None:
        """Go on from a checkpoint: weights, optimizer, counters, ``meta``. ``run`` then goes on where it was saved.

        It is read on the CPU unless ``map_location`` says otherwise: model and optimizer take it to where they are.
        """
        tree = self._loaded(checkpoint, map_location)
        meta = tree["meta"]
        self._epoch, self._iter = meta["epoch"], meta["iter"]
        messages = {**((self.meta or {}).get("hook_msgs") or {}), **meta.get("hook_msgs", {})}
        if not self._resume_exactly(tree):
            self._rescale(meta)
        self.meta = meta
        if messages:
            meta["hook_msgs"] = messages
        self._resume_optimizer(tree, resume_optimizer)
        self.logger.info("resumed epoch %d, iter %d", self._epoch, self._iter)

    def _loaded(self, checkpoint: str, map_location: Any) -> dict[str, Any]:
        runner: Any = self
        options = {} if map_location == "default" else {"map_location": map_location}
        tree: dict[str, Any] = runner.load_checkpoint(checkpoint, **options)
        if "meta" not in tree:
            raise KeyError(
                f"meta: the checkpoint {checkpoint!r} holds weights alone, and no training to go on with. "
                "load_checkpoint() takes weights"
            )
        return tree

    def _resume_optimizer(self, tree: dict[str, Any], resume_optimizer: bool) -> None:
        if "optimizer" not in tree or not resume_optimizer:
            return
        saved = tree["optimizer"]
        wanted = list(self.optimizer) if isinstance(self.optimizer, dict) else ["param_groups"]
        if self.optimizer is not None and not set(wanted) <= set(saved):
            kind = "one optimizer" if "param_groups" in saved else f"the optimizers {', '.join(saved)}"
            have = f"the optimizers {', '.join(wanted)}" if isinstance(self.optimizer, dict) else "one"
            raise LackingError(
                f"the checkpoint has the state of {kind}, and this runner has {have}: make it with the same ones, or "
                "resume with resume_optimizer=False"
            )
        if isinstance(self.optimizer, Optimizer):
            self.optimizer.load_state_dict(saved)
        elif isinstance(self.optimizer, dict):
            for name, one in self.optimizer.items():
                one.load_state_dict(saved[name])
        else:
            raise TypeError(
                f"Optimizer should be dict or torch.optim.Optimizer but got {self.optimizer!r} of "
                f"{type(self.optimizer)}: resume with the optimizer, or with resume_optimizer=False"
            )

    def _rescale(self, meta: dict[str, Any]) -> None:
        """Count iterations as the ranks of now do, where the config that was saved names the GPUs of then."""
        before = _n_gpus(meta.get("config"), self.logger)
        if before and before != self._world_size:
            self._iter = int(self._iter * before / self._world_size)
            self.logger.info(
                "the iteration number is now %d: it was saved with %d GPUs, and there are %d processes now",
                self._iter,
                before,
                self._world_size,
            )

    def _resume_exactly(self, tree: dict[str, Any]) -> bool:
        """Take over what our own files hold besides; False where there is nothing that fits this runner."""
        saved = tree.get(exact.KEY)
        self._resumption = None
        if not isinstance(saved, dict) or saved.get("counts") != self.unit:
            return False
        if saved["world_size"] != self._world_size:
            self.logger.warning(
                "the checkpoint was saved by %d processes and there are %d now: the order of samples and random "
                "numbers begin anew",
                saved["world_size"],
                self._world_size,
            )
            return False
        self.ctx.clock.epoch, self.ctx.clock.iter, self.ctx.clock.inner_iter = saved["progress"]
        own = unwrapped(self.model).state_dict()
        unclaimed = {name: value for name, value in tree["state_dict"].items() if name not in own}
        self._resumption = exact.Resumption(saved, self._rank, unclaimed)
        return True

    # the beginning of a run -------------------------------------------------------------------------------------------

    def _begin(self, workflow: Sequence[tuple[str, int]]) -> Turn:
        """Whose turn it is first. Hooks get their states, unless somebody has set the counters since."""
        going_on, clock = self._resumption, self.ctx.clock
        if going_on is not None and tuple(going_on.saved["progress"][:2]) != (clock.epoch, clock.iter):
            going_on = self._resumption = None
        self._plan = list(workflow)
        self._turn = Turn() if going_on is None else going_on.turn(workflow)
        if going_on is not None:
            going_on.put_hooks(self)
        return self._turn

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        self._is_under_way = True
        try:
            yield
        finally:
            self._is_under_way = False

    def _settle(self) -> None:
        """The rest of what was resumed, right before it is needed."""
        going_on, self._resumption = self._resumption, None
        if going_on is not None:
            going_on.put_rest(self)

    def _place_of(self, index: int) -> dict[str, Any] | None:
        return None if self._resumption is None else self._resumption.place(self._plan, index)

    def _places(self) -> list[dict[str, Any]]:
        """Where each loader of the workflow stands."""
        raise NotImplementedError

    # saving -----------------------------------------------------------------------------------------------------------

    def gather_run_state(self) -> None:
        """Call it on all ranks right before rank 0 saves: its checkpoint then holds the random streams of all."""
        exact.gathered(self)

    def _is_exact(self) -> bool:
        """Whether it is known where the run stands."""
        return True

    def _save(
        self, path: tuple[str, str], meta: dict[str, Any] | None, save_optimizer: bool, create_symlink: bool
    ) -> None:
        """Write a checkpoint to (folder, name)."""
        if meta is not None and not isinstance(meta, dict):
            raise TypeError(f"meta should be a dict or None, but got {meta!r} of {type(meta)}")
        # The run's own counters last: those in self.meta may be of the checkpoint that was resumed.
        meta = {**(meta or {}), **(self.meta or {}), "epoch": self._epoch + 1, "iter": self._iter}
        tree = checkpoint_tree(self.model, self.optimizer if save_optimizer else None, meta)
        if self._is_exact():
            tree[exact.KEY] = exact.run_state(self)
        self._sweep(*path)
        write_checkpoint(tree, os.path.join(*path))
        if create_symlink:
            point_latest(*path)

    def _sweep(self, folder: str, name: str) -> None:
        """Delete what a killed run has left in a folder that this one has not saved to yet."""
        if folder not in self._swept and os.path.isdir(folder):
            CheckpointManager(folder).sweep(name)
        self._swept |= {folder}


def _n_gpus(config: Any, logger: logging.Logger) -> int | None:
    """How many GPUs ``gpu_ids`` of a config's text has; the text is read as data, and nothing of it is run."""
    if not isinstance(config, str):
        return None
    try:
        tree = read_string(config, ".py", ReadOptions(predefined_variables=False), trusted=False).tree
    except ConfigError as error:
        logger.warning("the config in the checkpoint is not read, so its gpu_ids are not known: %s", error)
        return None
    ids = tree.get("gpu_ids")
    return len(ids) if isinstance(ids, (list, tuple, range)) else None
