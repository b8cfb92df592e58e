"""The contract between a front door and the code that knows how parameters are placed."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn

from trainwright import dist
from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.logs import MMLogger
from trainwright.checkpoint import CheckpointManager, load_weights, read_checkpoint, write_file
from trainwright.checkpoint.format import MapLocation
from trainwright.checkpoint.weights import MIN_LOADED, STRIP_MODULE, ReviseKeys
from trainwright.data.prefetch import batches_ahead
from trainwright.io import local_dir
from trainwright.optim import BaseOptimWrapper, OptimWrapperDict
from trainwright.registry import MODELS
from trainwright.state import HostCopies, weights_on_host
from trainwright.strategies.environment import Randomness, claimed, run_name, set_randomness, setup_environment
from trainwright.strategies.schedulers import Schedulers, load_states, make_optim_wrapper, make_schedulers
from trainwright.strategies.surgery import compile_method

Callback = Callable[[dict[str, Any]], None]


class BaseStrategy(ABC):
    """Environment, bring-up, steps and state of one way to place parameters (API of mmengine's BaseStrategy).

    Constructing it checks ``work_dir`` and sets the environment up: launcher, limits, seeds. Bring-up is either one
    call of :meth:`prepare`, or its parts in the order of the Runner: ``place_model``, ``attach_optim_wrapper``,
    ``scale_lr``, ``attach_schedulers``, ``init_model_weights``, ``load_or_resume``, ``compile``. ``auto_scale_lr``
    is ``dict(base_batch_size=..., enable=...)``. Subclasses implement the methods with an underscore.
    """

    model: nn.Module
    optim_wrapper: BaseOptimWrapper
    param_schedulers: Schedulers
    copies: HostCopies | None = None  # of the state that is being gathered, where training is to go on meanwhile

    def __init__(
        self,
        *,
        work_dir: str | os.PathLike[str] = "work_dirs",
        experiment_name: str | None = None,
        env_kwargs: dict[str, Any] | None = None,
        log_kwargs: dict[str, Any] | None = None,
        auto_scale_lr: dict[str, Any] | None = None,
    ) -> None:
        self._work_dir = str(local_dir(work_dir, "work_dir"))
        self._env_kwargs = dict(env_kwargs or {})
        env = dict(self._env_kwargs)
        self._randomness = dict(env.pop("randomness", None) or {})
        Randomness.from_cfg(self._randomness)  # a bad setting is refused before the environment is touched
        env["launcher"] = env.get("launcher") or "none"
        self.preemption = dict(env.pop("preemption", None) or {})
        self.environment = setup_environment(**env)
        self.set_randomness(**self._randomness)
        self._timestamp = self._claim_log_dir(experiment_name)
        self._log_dir = os.path.join(self._work_dir, self._timestamp)
        self._experiment_name = run_name(experiment_name, self._timestamp)
        self.logger = self.build_logger(**(log_kwargs or {}))
        self._auto_scale_lr = auto_scale_lr
        self.dispatch_kwargs: dict[str, Any] = {}
        self._prepared = False

    def _claim_log_dir(self, experiment_name: str | None) -> str:
        """Make the log folder and return its name: the time stamp, with a number behind it where another run that began
        in the same second has it already, or has a logger of that name in this process."""
        stamp = [self.environment.timestamp]
        if self.rank == 0:
            taken = 0
            while not claimed(os.path.join(self._work_dir, stamp[0]), run_name(experiment_name, stamp[0])):
                taken += 1
                stamp[0] = f"{self.environment.timestamp}_{taken}"
        dist.broadcast_object_list(stamp)
        return stamp[0]

    @property
    def work_dir(self) -> str:
        """Where checkpoints go, absolute."""
        return self._work_dir

    @property
    def log_dir(self) -> str:
        """``work_dir/timestamp``, where logs go."""
        return self._log_dir

    @property
    def experiment_name(self) -> str:
        """The given name with the time stamp, or the time stamp alone."""
        return self._experiment_name

    @property
    def launcher(self) -> str:
        """How the processes were started."""
        return self.environment.launcher

    @property
    def distributed(self) -> bool:
        """Whether a launcher started several processes."""
        return self.environment.distributed

    @property
    def seed(self) -> int:
        """The seed of the run, given or drawn."""
        return self._seed

    @property
    def rank(self) -> int:
        """Rank of this process."""
        return self.environment.rank

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return self.environment.world_size

    @property
    def timestamp(self) -> str:
        """When the run began, ``YYYYmmdd_HHMMSS``; ``_1`` and so on follows for a further run of the same second."""
        return self._timestamp

    @property
    def randomness(self) -> dict[str, Any]:
        """The ``randomness`` settings as given."""
        return self._randomness

    def set_randomness(self, **randomness: Any) -> None:
        """Seed this process; see :class:`Randomness` for the settings."""
        settings = Randomness.from_cfg(randomness)
        self._seed = set_randomness(settings, self.rank)
        self.deterministic, self.diff_rank_seed, self.keyed = (
            settings.deterministic,
            settings.diff_rank_seed,
            settings.keyed,
        )

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where this process computes."""

    # bring-up ---------------------------------------------------------------------------------------------------

    def prepare(
        self,
        model: nn.Module | dict[str, Any],
        *,
        optim_wrapper: Any = None,
        param_scheduler: Any = None,
        compile: dict[str, Any] | bool = False,
        dispatch_kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Everything at once, for use without a Runner; returns the model, or (model, optim_wrapper, schedulers).

        Order: build and place the model, initialise its weights, optimizer wrapper, ``scale_lr``, schedulers, compile.
        ``dispatch_kwargs`` holds what the parts need of the training: ``epoch_length``, ``max_epochs``, ``max_iters``,
        ``train_micro_batch_size_per_gpu``. A second call returns what the first one made.
        """
        if not self._prepared:
            self.dispatch_kwargs.update(dispatch_kwargs or {})
            self.place_model(model)
            self.init_model_weights()
            if optim_wrapper is not None:
                self.attach_optim_wrapper(optim_wrapper)
                self.scale_lr()
            if param_scheduler is not None:
                self.attach_schedulers(param_scheduler)
            self.compile(compile)
            self._prepared = True
        parts = [self.model, *(getattr(self, n) for n in ("optim_wrapper", "param_schedulers") if hasattr(self, n))]
        return parts[0] if len(parts) == 1 else parts

    def place_model(self, model: nn.Module | dict[str, Any]) -> nn.Module:
        """Build the model if it is a config, put it on its device and wrap it."""
        self.model = self._wrap_model(self.build_model(model))
        return self.model

    @abstractmethod
    def _wrap_model(self, model: nn.Module) -> nn.Module:
        """Move ``model`` to the device and wrap it."""

    def build_model(self, model: nn.Module | dict[str, Any]) -> nn.Module:
        """A module as it is, or the one that a config names in MODELS."""
        if isinstance(model, nn.Module):
            return model
        if isinstance(model, dict):
            return MODELS.build(model)  # type: ignore[no-any-return]
        raise ConfigTypeError(f"model must be an nn.Module or a dict, but got {model!r}.")

    def init_model_weights(self) -> None:
        """Call the model's ``init_weights()`` when it has one."""
        init = getattr(self.unwrapped_model, "init_weights", None)
        if init is not None and self.dispatch_kwargs.get("init_weights_for_test_or_val", True):
            init()

    def compile_model(self, model: nn.Module, compile: dict[str, Any] | bool = False) -> nn.Module:
        """Compile the method ``compile['target']`` (default ``forward``) of ``model`` in place; see torch.compile."""
        return compile_method(model, compile, self.logger)

    def compile(self, compile: dict[str, Any] | bool) -> None:
        """Compile the placed model."""
        self.model = self.compile_model(self.model, compile)

    def build_optim_wrapper(self, optim_wrapper: Any, model: nn.Module | None = None) -> BaseOptimWrapper:
        """A wrapper from a built one, a config, or a dict of built wrappers; see ``make_optim_wrapper``."""
        return make_optim_wrapper(optim_wrapper, model)

    def attach_optim_wrapper(self, optim_wrapper: Any) -> BaseOptimWrapper:
        """Build the wrapper for the placed model and give it this strategy's gradient functions."""
        self.optim_wrapper = self.build_optim_wrapper(optim_wrapper, self.unwrapped_model)
        return self.optim_wrapper

    def scale_lr(self) -> None:
        """Scale learning rates by real batch size over ``base_batch_size`` when auto_scale_lr is enabled (linear rule,
        Goyal et al. 2017). Must come before the schedulers, which remember the rates they start from."""
        cfg = self._auto_scale_lr
        if not cfg or not cfg.get("enable", False):
            return
        if "base_batch_size" not in cfg:
            raise ConfigError(f"auto_scale_lr {dict(cfg)!r} lacks base_batch_size, the batch size that the lr is for.")
        if getattr(self, "param_schedulers", None):
            raise ConfigError("scale_lr must be called before the schedulers are built: they store the initial rates.")
        real = self.world_size * int(self.dispatch_kwargs["train_micro_batch_size_per_gpu"])
        ratio = real / float(cfg["base_batch_size"])
        self.logger.info(
            "lr is for batches of %s samples, they have %d here: it is multiplied by %g",
            cfg["base_batch_size"],
            real,
            ratio,
        )
        for wrapper in self._wrappers():
            for group in wrapper.optimizer.param_groups:
                group["lr"] = group["lr"] * ratio

    def _wrappers(self) -> Iterable[Any]:
        wrapper = self.optim_wrapper
        return list(wrapper.values()) if isinstance(wrapper, OptimWrapperDict) else [wrapper]

    def build_param_scheduler(
        self, scheduler: Any, optim_wrapper: BaseOptimWrapper, default_args: dict[str, Any] | None = None
    ) -> Schedulers:
        """Schedulers from configs or built ones; ``default_args`` and ``dispatch_kwargs`` give the horizon."""
        return make_schedulers(scheduler, optim_wrapper, {**self.dispatch_kwargs, **(default_args or {})})

    def attach_schedulers(self, param_scheduler: Any) -> Schedulers:
        """Build the schedulers for the attached wrapper."""
        self.param_schedulers = self.build_param_scheduler(param_scheduler, self.optim_wrapper)
        return self.param_schedulers

    def build_logger(self, log_level: int | str = "INFO", log_file: str | None = None, **kwargs: Any) -> MMLogger:
        """The logger of the run, writing to the console and to ``log_dir/timestamp.log``."""
        path = log_file or os.path.join(self.log_dir, f"{self.timestamp}.log")
        kwargs = {"name": self.experiment_name, "file_mode": "a", **kwargs}
        return MMLogger.get_instance(log_level=log_level, log_file=path, **kwargs)

    # steps ------------------------------------------------------------------------------------------------------

    @property
    def unwrapped_model(self) -> nn.Module:
        """The user's module inside whatever this strategy wraps around it."""
        return self.model

    def batches(self, loader: Any) -> Iterator[Any]:
        """One pass over ``loader``; see :func:`batches_ahead` for what is done meanwhile."""
        return batches_ahead(loader, self.device, getattr(self.unwrapped_model, "data_preprocessor", None))

    def train_step(self, data: Any) -> dict[str, torch.Tensor]:
        """Forward, backward and optimizer step on one batch; returns the loss terms as device tensors."""
        return self.model.train_step(data, optim_wrapper=self.optim_wrapper)  # type: ignore[operator,no-any-return]

    def train_step_function(self) -> Callable[[Any], dict[str, torch.Tensor]]:
        """What a span of training iterations calls for each batch: :meth:`train_step`, without its frame where it is
        the one above."""
        if type(self).train_step is not BaseStrategy.train_step:
            return self.train_step
        step: Any = self.model.train_step
        return partial(step, optim_wrapper=self.optim_wrapper)

    def val_step(self, data: Any) -> Any:
        """Predictions on one validation batch."""
        return self.model.val_step(data)  # type: ignore[operator]

    def test_step(self, data: Any) -> Any:
        """Predictions on one test batch."""
        return self.model.test_step(data)  # type: ignore[operator]

    def eval_losses(self, data: Any) -> dict[str, torch.Tensor]:
        """The loss terms of one batch, and their sum as ``loss``, preprocessed as for validation; nothing is trained.

        On the model inside its wrapper: what a wrapper does for gradients is not wanted.
        """
        model: Any = self.unwrapped_model
        losses = model._run_forward(model.data_preprocessor(data, False), mode="loss")
        return model.parse_losses(losses)[1]  # type: ignore[no-any-return]

    def trainable_changed(self) -> None:
        """To be called where parameters begin or cease to require gradients; here nobody has to know."""
        return

    def grad_sync(self, on: bool) -> AbstractContextManager[Any]:
        """Within it gradients are (``on``) or are not exchanged between ranks; nothing to do in one process."""
        return nullcontext()

    # state ------------------------------------------------------------------------------------------------------

    def model_state_dict(self) -> dict[str, Any]:
        """The model's weights and buffers, on the CPU, under the user's own names."""
        return weights_on_host(self.unwrapped_model.state_dict(), self.copies)

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
        load_weights(self.unwrapped_model, state_dict, strict, revise_keys, min_loaded)

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
        checkpoint = self.read_tree(filename, map_location, trusted)
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
            self._hold_gradients(checkpoint)
        scheduled = resume_param_scheduler and getattr(self, "param_schedulers", None)
        if scheduled and self._holds(checkpoint, "param_schedulers", filename):
            self.load_scheduler_state_dict(checkpoint["param_schedulers"])
        return checkpoint

    def put_state(self, tree: dict[str, Any]) -> None:
        """Put in place what ``state_tree`` gave, while training runs: gradients held now are dropped."""
        for parameter in self.unwrapped_model.parameters():
            parameter.grad = None
        self.load_model_state_dict(tree, strict=True, revise_keys=())
        self.load_optim_state_dict(tree["optimizer"])
        self._hold_gradients(tree)
        if getattr(self, "param_schedulers", None):
            self.load_scheduler_state_dict(tree["param_schedulers"])

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
    ) -> None:
        """Gather the state, let ``callback`` change it, and publish it at ``filename`` atomically."""
        tree = self.state_tree(save_optimizer, save_param_scheduler)
        tree.update(extra_ckpt or {})
        if callback is not None:
            callback(tree)
        self.write_tree(filename, tree)

    def state_tree(self, save_optimizer: bool = True, save_param_scheduler: bool = True) -> dict[str, Any]:
        """What a strategy owns of a checkpoint: weights, optimizer, schedulers, gradients of an open accumulation
        window."""
        tree: dict[str, Any] = {"state_dict": self.model_state_dict()}
        if save_optimizer and hasattr(self, "optim_wrapper"):
            tree["optimizer"] = self.optim_state_dict()
            if gradients := self._held_gradients():
                tree["gradients"] = gradients
            if isinstance(self.optim_wrapper, OptimWrapperDict):  # one alone counts iterations, which the clock does
                tree["accumulation"] = self.optim_wrapper.accumulation_state()
        if save_param_scheduler and getattr(self, "param_schedulers", None):
            tree["param_schedulers"] = self.scheduler_state_dict()
        return tree

    def _held_gradients(self) -> dict[str, torch.Tensor]:
        """Gradients of an accumulation window that is not full yet, by parameter; of one process only, since ranks hold
        different ones."""
        is_open = any(getattr(w, "inner_count", 0) and not w.should_update() for w in self._wrappers())
        if not is_open or self.world_size > 1:
            return {}
        named = self.unwrapped_model.named_parameters()
        return {name: parameter.grad.cpu() for name, parameter in named if parameter.grad is not None}

    def _hold_gradients(self, checkpoint: dict[str, Any]) -> None:
        """Take up an open accumulation window: the gradients, which are multiplied by the loss scale of their time, and
        the counts of several wrappers."""
        gradients = checkpoint.get("gradients", {})
        for name, parameter in self.unwrapped_model.named_parameters():
            if name in gradients:
                parameter.grad = gradients[name].to(parameter.device, copy=True)
        wrapper: Any = self.optim_wrapper
        several = isinstance(wrapper, OptimWrapperDict)
        if gradients:
            states = checkpoint["optimizer"] if several else {"": checkpoint["optimizer"]}
            for name, one in wrapper.items() if several else [("", wrapper)]:
                one.rescale_gradients((states.get(name, {}).get("loss_scaler") or {}).get("scale", 1.0))
        if several and "accumulation" in checkpoint:
            wrapper.load_accumulation_state(checkpoint["accumulation"])

    def read_tree(self, filename: str, map_location: MapLocation = "cpu", trusted: bool = False) -> dict[str, Any]:
        """A state tree from a checkpoint of any kind."""
        return read_checkpoint(filename, map_location, trusted)

    def write_tree(self, filename: str, tree: dict[str, Any]) -> None:
        """Publish a state tree; here as a single file, written by rank 0. Its error is raised on all ranks."""
        if self.distributed:
            dist.from_main(lambda: write_file(filename, tree))
        elif self.rank == 0:
            write_file(filename, tree)
