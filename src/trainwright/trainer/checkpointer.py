"""Checkpoints of objects by name: a model, and whatever else has a state (API of fvcore's ``checkpoint``)."""

from __future__ import annotations

import logging
import os
import re
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from trainwright import dist
from trainwright.base.errors import CheckpointError, ConfigError, RegistryError
from trainwright.base.text import did_you_mean
from trainwright.base.version import __version__
from trainwright.checkpoint import CheckpointManager, read_checkpoint, write_file
from trainwright.checkpoint.layouts import meta_of
from trainwright.checkpoint.manager import HINT
from trainwright.io import atomic_write_text
from trainwright.state import weights_on_host
from trainwright.strategies.adopt import placed_by, unwrapped
from trainwright.strategies.sharded_state import divided
from trainwright.trainer.base import TrainerBase

_SUFFIX = ".pth"


class IncompatibleKeys(NamedTuple):
    """What did not fit when weights were loaded."""

    missing_keys: list[str]
    unexpected_keys: list[str]
    incorrect_shapes: list[tuple[str, tuple[int, ...], tuple[int, ...]]]  # name, shape in the file, in the model


class Checkpointer:
    """Saves ``model`` and ``checkpointables`` (anything with ``state_dict``) as ``save_dir/NAME.pth``, and loads them.

    Each file appears whole, or not at all, with checksums, and holds tensors and plain data only; then the text file
    ``last_checkpoint`` names it. A resume takes the newest file that verifies.

    Rank 0 writes. With a trainer whose hook saves on every rank (see HookBase), and of a model that is sharded over
    ranks, all ranks call :meth:`save`; otherwise rank 0 may do so alone. ``save_to_disk=False`` writes nothing. A
    trainer is held weakly: its hook may hold this.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str | os.PathLike[str] = "",
        *,
        save_to_disk: bool = True,
        **checkpointables: Any,
    ) -> None:
        self.model = unwrapped(model)
        self.save_dir = os.fspath(save_dir)
        self.save_to_disk = save_to_disk
        self.checkpointables: dict[str, Any] = {}
        self.logger = logging.getLogger(__name__)
        self._manager = CheckpointManager(self.save_dir, _write_on_main) if self.save_dir else None
        self._has_swept = False
        for name, checkpointable in checkpointables.items():
            self.add_checkpointable(name, checkpointable)

    def add_checkpointable(self, key: str, checkpointable: Any) -> None:
        """Have another object saved and loaded, as ``key``."""
        if key in self.checkpointables or key == "model":
            raise RegistryError(f"the checkpointer has something called {key!r} already: choose another name.")
        if not hasattr(checkpointable, "state_dict"):
            raise TypeError(
                f"{key} must have a state_dict() to be saved, but {type(checkpointable).__name__} has none: "
                f"{checkpointable!r}."
            )
        held = isinstance(checkpointable, TrainerBase) and type(checkpointable) not in weakref.ProxyTypes
        self.checkpointables[key] = weakref.proxy(checkpointable) if held else checkpointable

    # saving -------------------------------------------------------------------------------------------------------

    def save(self, name: str, **kwargs: Any) -> None:
        """Save all objects as ``name``, and ``kwargs`` beside them, which ``load`` returns."""
        manager = self._manager
        together = self._is_sharded() or self._says("saves_together")
        is_writer = self.save_to_disk and dist.is_main_process()
        if manager is None or not (together or is_writer):
            return
        if self._says("saves_apart"):
            self.refuse_some_ranks()
        tree = self._tree(kwargs)
        file = f"{name}{_SUFFIX}"
        if self.save_to_disk and not self._has_swept:
            manager.sweep(file)  # what a killed run has left; only now, since who merely reads may do so beside a run
            self._has_swept = True
        if together:
            writes = dist.from_main(lambda: self.save_to_disk)
            if writes:
                self._say_saving(file)
                manager.save(file, tree)
                manager.point_to(file)
            return
        self._say_saving(file)
        if dist.is_distributed():  # this rank alone: nothing may wait for the others
            Path(self.save_dir).mkdir(parents=True, exist_ok=True)
            write_file(os.path.join(self.save_dir, file), tree)
        else:
            manager.save(file, tree)
        self.tag_last_checkpoint(file)

    def refuse_some_ranks(self) -> None:
        """A CheckpointError where it takes all ranks to save this model, and some alone are about to."""
        if self._is_sharded():
            raise CheckpointError(
                f"some ranks alone cannot save {type(self.model).__name__}, which is sharded over all of them: "
                "register the hooks that save on every rank. Rank 0 writes the file."
            )

    def _is_sharded(self) -> bool:
        return any(map(dist.is_sharded, self.model.parameters()))

    def _says(self, name: str) -> bool:
        """Whether a trainer among the checkpointables says so."""
        return any(getattr(found, name, False) for found in self.checkpointables.values())

    def _say_saving(self, file: str) -> None:
        if dist.is_main_process():
            self.logger.info("Saving checkpoint to %s", os.path.join(self.save_dir, file))

    def _tree(self, beside: Mapping[str, Any]) -> dict[str, Any]:
        strategy, is_sharded = self._strategy(), self._is_sharded()
        tree: dict[str, Any] = {}
        if strategy is not None:
            tree["model"] = strategy.model_state_dict()
        elif is_sharded:
            tree["model"] = dist.gathered_tree(self.model.state_dict())
        else:
            tree["model"] = weights_on_host(self.model.state_dict())
        for key, found in self.checkpointables.items():
            tree[key] = dist.gathered_tree(found.state_dict()) if is_sharded else found.state_dict()
        tree.update(beside)
        meta: dict[str, Any] = {"trainwright_version": __version__, "time": time.strftime("%Y%m%d_%H%M%S")}
        trainer = next((found for found in self.checkpointables.values() if hasattr(found, "finished_iters")), None)
        if trainer is not None:
            meta["iter"], meta["epoch"] = trainer.finished_iters, 0
        elif "iteration" in beside:
            meta["iter"], meta["epoch"] = int(beside["iteration"]) + 1, 0
        tree.setdefault("meta", meta)
        return tree

    def _strategy(self) -> Any:
        """The one that has placed this model for a trainer, and knows how to have its weights."""
        return placed_by(self.model)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Write the file ``last_checkpoint``: that this one is to be resumed from."""
        atomic_write_text(Path(self.save_dir) / HINT, last_filename_basename)

    # finding ------------------------------------------------------------------------------------------------------

    def has_checkpoint(self) -> bool:
        """Whether there is a file to resume from."""
        return bool(self.get_checkpoint_file())

    def get_checkpoint_file(self) -> str:
        """The newest file that verifies, "" where there is none: the one that ``last_checkpoint`` names, unless one
        with more iterations came after that was written."""
        manager = self._manager
        if manager is None:
            return ""
        hint = Path(self.save_dir) / HINT
        files = {path: _finished(path) for path in self.get_all_checkpoint_files()}
        named = self._named(hint)
        if named and manager.is_verified(named):
            done = files.get(named, -1)
            written = hint.stat().st_mtime_ns
            # A save that was killed before it could write the hint.
            ahead = [path for path, n in files.items() if n > done >= 0 and _written(path) > written]
        else:
            named, ahead = "", list(files)
        ahead.sort(key=lambda path: (files[path], _written(path)), reverse=True)
        return next((path for path in ahead if manager.is_verified(path)), named)

    def _named(self, hint: Path) -> str:
        try:
            name = hint.read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return ""
        path = os.path.join(self.save_dir, name)
        if name and os.path.isfile(path):
            return path
        self.logger.warning("%s names %r, which is not there: other files are looked at", hint, name)
        return ""

    def get_all_checkpoint_files(self) -> list[str]:
        """The paths of all files ``*.pth`` in ``save_dir``."""
        folder = Path(self.save_dir) if self.save_dir else None
        if folder is None or not folder.is_dir():
            return []
        names = sorted(path.name for path in folder.glob(f"*{_SUFFIX}") if path.is_file())
        return [os.path.join(self.save_dir, name) for name in names if not name.startswith(".")]

    def remove(self, paths: Iterable[str], newest: str) -> None:
        """Delete older checkpoints, once ``newest`` is found to be whole."""
        manager = self._manager
        if manager is not None and dist.is_main_process():
            manager.purge_alone(list(paths), newest)

    # loading ------------------------------------------------------------------------------------------------------

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Load everything from the newest checkpoint in ``save_dir``, if ``resume`` and there is one; otherwise load
        the model alone from ``path``. Where there are several ranks all of them call this, and rank 0 chooses."""
        newest = dist.from_main(self.get_checkpoint_file) if resume else ""
        return self.load(newest) if newest else self.load(path, checkpointables=[])

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load the model, and those of the other objects that are named (all, where None) and in the file; returns what
        else is in it. An empty path loads nothing."""
        if not path:
            self.logger.info("No checkpoint found. Initializing model from scratch")
            return {}
        self.logger.info("Loading checkpoint from %s", path)
        wanted = list(self.checkpointables) if checkpointables is None else list(checkpointables)
        for key in wanted:
            if key not in self.checkpointables:
                names = ", ".join(self.checkpointables) or "none"
                raise RegistryError(
                    f"load() was asked for {key!r}, and the checkpointer has {names}."
                    f"{did_you_mean(key, self.checkpointables)}"
                )
        checkpoint = self._load_file(path)
        incompatible = self._load_model(checkpoint)
        if incompatible is not None:
            self._log_incompatible_keys(incompatible)
        for key in wanted:
            if key in checkpoint:
                found, state = self.checkpointables[key], checkpoint.pop(key)
                found.load_state_dict(divided(found, state) if isinstance(found, Optimizer) else state)
        return checkpoint

    def _load_file(self, f: str) -> dict[str, Any]:
        """The tree of a file, read without running code."""
        return read_checkpoint(f, "cpu")

    def _load_model(self, checkpoint: dict[str, Any]) -> IncompatibleKeys | None:
        """Take the weights out of the tree and into the model. Those of another shape are left out."""
        weights = _weights_of(checkpoint)
        own = self.model.state_dict()
        wrong = []
        for name in list(weights):
            value, there = weights[name], own.get(name)
            if there is None or not isinstance(value, torch.Tensor) or not isinstance(there, torch.Tensor):
                continue
            if is_lazy(there) or value.shape == there.shape:  # one that has no shape yet takes any
                continue
            wrong.append((name, tuple(value.shape), tuple(there.shape)))
            weights.pop(name)
        missing = [name for name in own if name not in weights and all(name != one for one, *_ in wrong)]
        unexpected = [name for name in weights if name not in own]
        strategy = self._strategy()
        if strategy is None:
            own_parts = {name: dist.laid_out_as(value, own.get(name)) for name, value in weights.items()}
            self.model.load_state_dict(own_parts if self._is_sharded() else weights, strict=False)
        else:
            strategy.load_model_state_dict(weights, strict=False, revise_keys=(), min_loaded=0.0)
        return IncompatibleKeys(missing, unexpected, wrong)

    def _log_incompatible_keys(self, incompatible: IncompatibleKeys) -> None:
        for name, shape, own in incompatible.incorrect_shapes:
            self.logger.warning(
                "the weight %s is left out: it has shape %s in the checkpoint and %s in the model", name, shape, own
            )
        if incompatible.missing_keys:
            self.logger.warning(
                "weights of the model that are not in the checkpoint: %s", ", ".join(incompatible.missing_keys)
            )
        if incompatible.unexpected_keys:
            self.logger.warning(
                "weights of the checkpoint that are not in the model: %s", ", ".join(incompatible.unexpected_keys)
            )


class PeriodicCheckpointer:
    """Saves ``PREFIX_ITERATION`` every ``period`` iterations, and ``PREFIX_final`` after the last of ``max_iter``.

    ``max_to_keep``: so many of the periodic ones stay. trainwright.trainer.hooks has it as a hook.
    """

    def __init__(
        self,
        checkpointer: Any,
        period: int,
        max_iter: int | None = None,
        max_to_keep: int | None = None,
        file_prefix: str = "model",
    ) -> None:
        self.checkpointer = checkpointer
        self.period = int(period)
        if self.period < 1:
            raise ConfigError(
                f"PeriodicCheckpointer period must be at least 1 iteration, but got {period!r}: leave the hook out to "
                "save nothing, or give a period longer than training to save the end alone."
            )
        self.max_iter = max_iter
        if max_to_keep is not None and max_to_keep < 1:
            raise ValueError(f"max_to_keep must be at least 1, or None for all, but got {max_to_keep!r}.")
        self.max_to_keep = max_to_keep
        self.file_prefix = file_prefix
        self.recent_checkpoints: list[str] | None = None  # oldest first; None before the first save

    def step(self, iteration: int, **kwargs: Any) -> None:
        """Save, if it is time after ``iteration``; ``kwargs`` are saved too."""
        iteration = int(iteration)
        beside = {"iteration": iteration, **kwargs}
        if (iteration + 1) % self.period == 0:
            name = f"{self.file_prefix}_{iteration:07d}"
            if self.max_to_keep is not None and self.recent_checkpoints is None:
                self.recent_checkpoints = self._left_by_earlier_runs(iteration)
            self.checkpointer.save(name, **beside)
            if self.max_to_keep is not None:
                self._purge(os.path.join(self.checkpointer.save_dir, f"{name}{_SUFFIX}"))
        if self.max_iter is not None and iteration >= self.max_iter - 1:
            self.checkpointer.save(f"{self.file_prefix}_final", **beside)

    def _left_by_earlier_runs(self, iteration: int) -> list[str]:
        pattern = re.compile(rf"{re.escape(self.file_prefix)}_(\d{{7,}}){re.escape(_SUFFIX)}")
        found = []
        for path in self.checkpointer.get_all_checkpoint_files():
            match = pattern.fullmatch(os.path.basename(path))
            if match and int(match[1]) < iteration:
                found.append((int(match[1]), path))
        return [path for _, path in sorted(found)]

    def _purge(self, newest: str) -> None:
        recent = self.recent_checkpoints = [*(self.recent_checkpoints or []), newest]
        n_old = len(recent) - (self.max_to_keep or 0)
        if n_old > 0:
            if hasattr(self.checkpointer, "remove"):
                self.checkpointer.remove(recent[:n_old], newest)
            else:  # fvcore's
                files = self.checkpointer.path_manager
                for path in filter(files.exists, recent[:n_old]):
                    files.rm(path)
            del recent[:n_old]

    def save(self, name: str, **kwargs: Any) -> None:
        """Save now, as ``name``."""
        self.checkpointer.save(name, **kwargs)


def _write_on_main(path: Any, tree: dict[str, Any]) -> None:
    dist.from_main(lambda: write_file(path, tree))


def _written(path: str) -> int:
    return os.stat(path).st_mtime_ns


def _finished(path: str) -> int:
    """Iterations that are finished in a checkpoint, -1 where it does not say."""
    try:
        return int(meta_of(path)["iter"])
    except (CheckpointError, OSError, ValueError, TypeError):
        return -1


def _weights_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The weights, taken out of the tree of this door, of a Runner, or of weights alone."""
    for key in ("model", "state_dict"):
        if isinstance(checkpoint.get(key), Mapping):
            found = checkpoint.pop(key)
            weights = OrderedDict(found)
            vars(weights).update(getattr(found, "__dict__", {}))  # versions of the modules' layouts
            break
    else:
        weights = OrderedDict((name, value) for name, value in checkpoint.items() if isinstance(value, torch.Tensor))
        if not weights:
            raise CheckpointError(
                f"the checkpoint has no weights: there is neither 'model' nor 'state_dict' in it, but "
                f"{', '.join(map(str, checkpoint)) or 'nothing'}."
            )
        for name in weights:
            del checkpoint[name]
    if weights and all(name.startswith("module.") for name in weights):
        return {name[len("module.") :]: value for name, value in weights.items()}
    return weights
