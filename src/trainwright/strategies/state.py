"""What a strategy owns of a checkpoint: gathered, saved, read, and put back in place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from trainwright import dist
from trainwright.base.errors import ConfigError
from trainwright.base.logs import MMLogger
from trainwright.base.version import __version__
from trainwright.checkpoint import CheckpointManager, load_weights, read_checkpoint, write_file
from trainwright.checkpoint.folder import write_folder
from trainwright.checkpoint.format import MapLocation
from trainwright.checkpoint.weights import MIN_LOADED, STRIP_MODULE, ReviseKeys
from trainwright.model import is_model_wrapper
from trainwright.optim import BaseOptimWrapper, OptimWrapperDict, _ParamScheduler
from trainwright.state import HostCopies, rng, weights_on_host
from trainwright.strategies.apart import mean_gradients, of_ranks, own_buffers, put_buffers
from trainwright.strategies.schedulers import Schedulers, load_states

Callback = Callable[[dict[str, Any]], None]


class StrategyState:
    """The state half of :class:`BaseStrategy`: weights, optimizers, schedulers, their tree in a checkpoint."""

    model: nn.Module
    optim_wrapper: BaseOptimWrapper
    param_schedulers: Schedulers
    logger: MMLogger
    copies: HostCopies | None = None  # of the state that is being gathered, where training is to go on meanwhile
    dispatch_kwargs: dict[str, Any]
    _randomness: dict[str, Any]
    _prepared = False  # by prepare(): then there is no Runner that saves and takes over what is not the strategy's

    @property
    def work_dir(self) -> str:
        """Where checkpoints go, absolute."""
        raise NotImplementedError

    @property
    def rank(self) -> int:
        """Rank of this process."""
        raise NotImplementedError

    @property
    def world_size(self) -> int:
        """Number of processes."""
        raise NotImplementedError

    @property
    def distributed(self) -> bool:
        """Whether a launcher started several processes."""
        raise NotImplementedError

    @property
    def seed(self) -> int:
        """The seed of the run, given or drawn."""
        raise NotImplementedError

    def set_randomness(self, **randomness: Any) -> None:
        """Seed this process."""
        raise NotImplementedError

    @property
    def unwrapped_model(self) -> nn.Module:
        """The user's module inside whatever this strategy wraps around it."""
        return self.model

    def _wrappers(self) -> Iterable[Any]:
        wrapper = self.optim_wrapper
        return list(wrapper.values()) if isinstance(wrapper, OptimWrapperDict) else [wrapper]

    def _saved_module(self) -> nn.Module:
        """Whose names a checkpoint has: the model inside a wrapper that the user has put around it, too."""
        model: Any = self.unwrapped_model
        inside: nn.Module = model.module if is_model_wrapper(model) else model
        return inside

    def model_state_dict(self) -> dict[str, Any]:
        """The model's weights and buffers, on the CPU, under the user's own names."""
        return weights_on_host(self._saved_module().state_dict(), self.copies)

    def optim_state_dict(self) -> dict[str, Any]:
        """State of the optimizer, or of each under its name."""
        return self.optim_wrapper.state_dict()

    def scheduler_state_dict(self) -> Any:
        """State of the schedulers, in the shape in which they were built."""
        schedulers = self.param_schedulers
        if isinstance(schedulers, dict):
            return {name: [s.state_dict() for s in items] for name, items in schedulers.items()}
        return [s.state_dict() for s in schedulers]

    def load_model_state_dict(
        self,
        state_dict: dict[str, Any],
        *,
        strict: bool = False,
        revise_keys: ReviseKeys = STRIP_MODULE,
        min_loaded: float = MIN_LOADED,
    ) -> None:
        """Load weights into the model; see ``checkpoint.load_weights``."""
        load_weights(self._saved_module(), state_dict, strict, revise_keys, min_loaded)

    def load_optim_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of the optimizer(s)."""
        self.optim_wrapper.load_state_dict(state_dict)

    def load_scheduler_state_dict(self, state_dict: Any) -> None:
        """Load the state of the schedulers; another number of them than was saved is a ConfigError."""
        own = self.param_schedulers
        pairs = (
            [(own[name], state_dict.get(name, [])) for name in own] if isinstance(own, dict) else [(own, state_dict)]
        )
        for schedulers, states in pairs:
            if len(schedulers) != len(states):
                raise ConfigError(
                    f"the checkpoint has {len(states)} parameter schedulers and this config {len(schedulers)}: resume "
                    "with the same param_scheduler, or with resume_param_scheduler=False."
                )
            for text in load_states(schedulers, states):
                self.logger.warning(text)

    def load_or_resume(self, *, load_from: str | None = None, resume: bool | str = False) -> dict[str, Any] | None:
        """Resume from the named file, from ``load_from``, or from the latest in ``work_dir``; or load weights only.

        Returns the checkpoint, None when there was nothing to load.
        """
        if isinstance(resume, str):
            return self.resume(resume)
        if resume:
            path = load_from or CheckpointManager(self.work_dir).latest()
            return None if path is None else self.resume(path)
        return None if load_from is None else self.load_checkpoint(load_from)

    def load_checkpoint(
        self,
        filename: str,
        *,
        map_location: MapLocation = "cpu",
        strict: bool = False,
        revise_keys: ReviseKeys = STRIP_MODULE,
        callback: Callback | None = None,
        trusted: bool = False,
        min_loaded: float = MIN_LOADED,
    ) -> dict[str, Any]:
        """Read ``filename`` and load its weights; ``callback`` may change the checkpoint before. Returns it. For
        ``trusted`` see ``checkpoint.read_checkpoint``, for ``min_loaded`` ``checkpoint.load_weights``."""
        checkpoint = self._tree_to_load(filename, map_location, trusted)
        if callback is not None:
            callback(checkpoint)
        self.load_model_state_dict(checkpoint, strict=strict, revise_keys=revise_keys, min_loaded=min_loaded)
        return checkpoint

    def resume(
        self,
        filename: str,
        *,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: MapLocation = "default",
        callback: Callback | None = None,
        trusted: bool = False,
        strict: bool = True,
        revise_keys: ReviseKeys = STRIP_MODULE,
    ) -> dict[str, Any]:
        """Load weights strictly, optimizer and schedulers from ``filename``; returns the checkpoint for the rest."""
        place = "cpu" if map_location == "default" else map_location
        checkpoint = self.load_checkpoint(
            filename, map_location=place, strict=strict, revise_keys=revise_keys, callback=callback, trusted=trusted
        )
        if resume_optimizer and hasattr(self, "optim_wrapper") and self._holds(checkpoint, "optimizer", filename):
            self.load_optim_state_dict(checkpoint["optimizer"])
            self.drop_gradients()
            self._hold_gradients(checkpoint)
        self._take_own_buffers(checkpoint)
        scheduled = resume_param_scheduler and getattr(self, "param_schedulers", None)
        if scheduled and self._holds(checkpoint, "param_schedulers", filename):
            self.load_scheduler_state_dict(checkpoint["param_schedulers"])
        elif scheduled:
            self._begin_schedules()
        if self._prepared:
            self._take_over_run(checkpoint)
        return checkpoint

    def obstacle_to_going_back(self) -> str | None:
        """Why :meth:`put_state` might not do in a training like this one; None where it always does."""
        return None

    def put_state(self, tree: dict[str, Any]) -> None:
        """Put in place what ``state_tree`` gave, while training runs: gradients held now are dropped."""
        self.drop_gradients()
        self.load_model_state_dict(tree, strict=True, revise_keys=())
        self.load_optim_state_dict(tree["optimizer"])
        self._hold_gradients(tree)
        self._take_own_buffers(tree)
        if getattr(self, "param_schedulers", None):
            self.load_scheduler_state_dict(tree["param_schedulers"])

    def _begin_schedules(self) -> None:
        """Set the optimizers to where the schedules begin: the file's values are those of another place in them."""
        own = self.param_schedulers
        for schedulers in own.values() if isinstance(own, dict) else [own]:
            for scheduler in schedulers:
                if isinstance(scheduler, _ParamScheduler):
                    scheduler.put_last_value()

    def _holds(self, checkpoint: dict[str, Any], part: str, filename: str) -> bool:
        if part not in checkpoint:
            self.logger.warning(
                "%s was saved without %s: its state begins anew, so training does not go on as it would have. "
                "CheckpointHook(save_optimizer=True, save_param_scheduler=True), the default, saves both.",
                filename,
                part,
            )
        return part in checkpoint

    def save_checkpoint(
        self,
        filename: str,
        *,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        extra_ckpt: dict[str, Any] | None = None,
        callback: Callback | None = None,
        layout: str = "file",
    ) -> None:
        """Gather the state, let ``callback`` change it, and publish it at ``filename`` atomically: as a file, or with
        ``layout='folder'`` as a step folder. All ranks call this; in a file rank 0 has the whole of sharded tensors."""
        if layout not in ("file", "folder"):
            raise ConfigError(f"layout must be 'file' or 'folder', but got {layout!r}.")
        with dist.keeping_shards() if layout == "folder" else nullcontext():
            tree = self.state_tree(save_optimizer, save_param_scheduler)
            if self._prepared:
                tree.update(self._run_state())
        tree.update(extra_ckpt or {})
        sizes = {"world_size": self.world_size, "data_size": dist.data_info()[1]}
        facts = {"seed": self.seed, **sizes, "time": time.strftime("%Y%m%d_%H%M%S")}
        tree["meta"] = {**facts, "trainwright_version": __version__, **tree.get("meta", {})}
        if callback is not None:
            callback(tree)
        if layout == "folder":
            write_folder(filename, tree)
        else:
            self.write_tree(filename, tree)

    def state_tree(self, save_optimizer: bool = True, save_param_scheduler: bool = True) -> dict[str, Any]:
        """What a strategy owns of a checkpoint: weights, optimizer, schedulers, gradients of an open accumulation
        window. What is not the same on all ranks is in the list ``ranks``. All ranks call this."""
        tree: dict[str, Any] = {"state_dict": self.model_state_dict()}
        apart: dict[str, Any] = {}
        if save_optimizer and hasattr(self, "optim_wrapper"):
            tree["optimizer"] = self.optim_state_dict()
            if self.window_is_open():
                (tree if self.world_size == 1 else apart)["gradients"] = self.held_gradients()
            if isinstance(self.optim_wrapper, OptimWrapperDict):  # one alone counts iterations, which the clock does
                tree["accumulation"] = self.optim_wrapper.accumulation_state()
        if self.world_size > 1:
            if buffers := own_buffers(self.unwrapped_model):
                apart["buffers"] = buffers
            if apart:
                tree["ranks"] = of_ranks(apart)
        if save_param_scheduler and getattr(self, "param_schedulers", None):
            tree["param_schedulers"] = self.scheduler_state_dict()
        return tree

    def window_is_open(self) -> bool:
        """Whether gradients of an accumulation window wait for more losses."""
        return any(getattr(w, "inner_count", 0) and not w.should_update() for w in self._wrappers())

    def held_gradients(self) -> dict[str, torch.Tensor]:
        """Gradients that this process holds, by parameter: those of an accumulation window that is not full yet."""
        named = self.unwrapped_model.named_parameters()
        return {name: dist.whole(parameter.grad).cpu() for name, parameter in named if parameter.grad is not None}

    def drop_gradients(self) -> None:
        """Have this process hold no gradients."""
        for parameter in self.unwrapped_model.parameters():
            parameter.grad = None

    def put_gradients(self, gradients: dict[str, torch.Tensor]) -> None:
        """Have this process hold these gradients, which are its own to change."""
        for name, parameter in self.unwrapped_model.named_parameters():
            if name in gradients:
                parameter.grad = dist.laid_out_as(gradients[name].to(parameter.device), parameter)

    def _hold_gradients(self, checkpoint: dict[str, Any]) -> None:
        """Take up an open accumulation window: the gradients, which are multiplied by the loss scale of their time, and
        the counts of several wrappers. With another number of ranks than there were each one holds the mean of what
        those held, which comes to the same."""
        gradients, items = checkpoint.get("gradients", {}), checkpoint.get("ranks") or []
        if self._is_of_this_layout(checkpoint):
            gradients = items[self.rank].get("gradients", gradients)
        elif any("gradients" in item for item in items):
            gradients = mean_gradients(items)
        wrapper: Any = self.optim_wrapper
        several = isinstance(wrapper, OptimWrapperDict)
        if gradients:
            states = checkpoint["optimizer"] if several else {"": checkpoint["optimizer"]}
            names = {parameter: name for name, parameter in self.unwrapped_model.named_parameters()}
            own = {name: gradient.clone() for name, gradient in gradients.items()}
            for part, one in wrapper.items() if several else [("", wrapper)]:
                then = (states.get(part, {}).get("loss_scaler") or {}).get("scale", 1.0)
                ratio = one.gradient_scale() / then
                params = [p for group in one.optimizer.param_groups for p in group["params"]] if ratio != 1.0 else []
                for name in (names.get(param) for param in params):
                    if name in own:
                        own[name].mul_(ratio)
            self.put_gradients(own)
        if "accumulation" in checkpoint and (several or self._prepared):
            wrapper.load_accumulation_state(checkpoint["accumulation"])

    def _take_own_buffers(self, checkpoint: dict[str, Any]) -> None:
        """The buffers that this rank had; with another number of ranks than there were those of rank 0 stay, which are
        the model's in the checkpoint."""
        items = checkpoint.get("ranks") or []
        if self._is_of_this_layout(checkpoint):
            put_buffers(self.unwrapped_model, items[self.rank].get("buffers", {}))

    def _is_of_this_layout(self, checkpoint: dict[str, Any]) -> bool:
        """Whether what ranks held apart was saved by ranks that shared the samples as those of now do."""
        return dist.is_same_layout(len(checkpoint.get("ranks") or []), (checkpoint.get("meta") or {}).get("data_size"))

    # without a Runner -------------------------------------------------------------------------------------------

    def _run_state(self) -> dict[str, Any]:
        """Random streams, and how many losses were used."""
        streams = rng.capture()
        found: dict[str, Any] = {"rng": dist.all_gather_object(streams) if self.distributed else [streams]}
        wrapper: Any = getattr(self, "optim_wrapper", None)
        if hasattr(wrapper, "accumulation_state"):
            found["accumulation"] = wrapper.accumulation_state()
        return found

    def _take_over_run(self, checkpoint: dict[str, Any]) -> None:
        meta = checkpoint.get("meta") or {}
        seed = meta.get("seed")
        if seed is not None and seed != self.seed:
            if self._randomness.get("seed") is not None:
                self.logger.warning("randomness has seed=%d and the checkpoint %d: that one is used", self.seed, seed)
            self._randomness["seed"] = seed
            self.set_randomness(**self._randomness)
        streams = dist.item_of_rank(checkpoint.get("rng") or [], meta.get("data_size"), any_will_do=False)
        if streams is not None:
            rng.restore(streams)
        if "accumulation" not in checkpoint and meta.get("iter"):  # a Runner saved it, whose clock counts
            self._count_losses_from(int(meta["iter"]))

    def _count_losses_from(self, count: int) -> None:
        wrapper: Any = getattr(self, "optim_wrapper", None)
        if hasattr(wrapper, "initialize_count_status"):
            wrapper.initialize_count_status(self.unwrapped_model, count, self.dispatch_kwargs.get("max_iters") or -1)

    def read_tree(self, filename: str, map_location: MapLocation = "cpu", trusted: bool = False) -> dict[str, Any]:
        """A state tree from a checkpoint of any kind."""
        return read_checkpoint(filename, map_location, trusted)

    def _tree_to_load(self, filename: str, map_location: MapLocation, trusted: bool) -> dict[str, Any]:
        """The tree whose state is put in place right after; here the whole of it. All ranks call this."""
        return self.read_tree(filename, map_location, trusted)

    def write_tree(self, filename: str, tree: dict[str, Any]) -> None:
        """Publish a state tree; here as a single file, written by rank 0. Its error is raised on all ranks."""
        if self.distributed:
            dist.from_main(lambda: write_file(filename, tree))
        elif self.rank == 0:
            write_file(filename, tree)
