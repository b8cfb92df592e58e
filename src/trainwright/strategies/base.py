"""The contract between a front door and the code that knows how parameters are placed."""

from __future__ import annotations

import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn

from trainwright import dist
from trainwright.base.errors import ConfigError, ConfigTypeError, RuleError
from trainwright.base.logs import MMLogger
from trainwright.data.prefetch import batches_ahead
from trainwright.io import local_dir
from trainwright.optim import BaseOptimWrapper, OptimWrapperDict, _ParamScheduler
from trainwright.registry import MODELS
from trainwright.strategies.adopt import follow_parameters, note_placed
from trainwright.strategies.environment import (
    Randomness,
    claimed,
    default_device,
    run_name,
    set_randomness,
    setup_environment,
)
from trainwright.strategies.schedulers import Schedulers, make_optim_wrapper, make_schedulers, schedulers_for_one
from trainwright.strategies.state import StrategyState
from trainwright.strategies.surgery import compile_method
from trainwright.utils.dl_utils.collect_env import collect_env

ParamSchedulerType = list[_ParamScheduler] | dict[str, list[_ParamScheduler]]


class BaseStrategy(StrategyState, ABC):
    """Environment, bring-up, steps and state of one way to place parameters (API of mmengine's BaseStrategy).

    Constructing it checks ``work_dir`` and sets the environment up: launcher, limits, seeds. Bring-up is either one
    call of :meth:`prepare`, or its parts in the order of the Runner: ``place_model``, ``attach_optim_wrapper``,
    ``scale_lr``, ``attach_schedulers``, ``init_model_weights``, ``load_or_resume``, ``compile``. ``auto_scale_lr``
    is ``dict(base_batch_size=..., enable=...)``.

    Subclasses implement ``_wrap_model``, and may override what has an underscore or is called ``build_...``: either way
    of bringing up calls them. A ``prepare`` of their own is for use without a Runner, which takes the parts.
    """

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
        env["randomness"] = dict(env.get("randomness") or {})
        Randomness.from_cfg(env["randomness"])  # a bad setting is refused before the environment is touched
        self.preemption = dict(env.pop("preemption", None) or {})
        self.watchdog = dict(env.pop("watchdog", None) or {})
        self._setup_env(**env)
        self._timestamp = self._claim_log_dir(experiment_name)
        self._log_dir = os.path.join(self._work_dir, self._timestamp)
        self._experiment_name = run_name(experiment_name, self._timestamp)
        self.logger = self.build_logger(**(log_kwargs or {}))
        self._auto_scale_lr = auto_scale_lr
        self.dispatch_kwargs: dict[str, Any] = {}
        self._prepared = False

    def _setup_env(
        self,
        *,
        launcher: str | None = None,
        cudnn_benchmark: bool = False,
        mp_cfg: dict[str, Any] | None = None,
        dist_cfg: dict[str, Any] | None = None,
        resource_limit: int = 4096,
        randomness: dict[str, Any] | None = None,
    ) -> None:
        """Set this process up: limits, multiprocessing, process group, seeds. ``launcher`` None is 'none'."""
        join = self._setup_distributed
        found = setup_environment(launcher or "none", cudnn_benchmark, mp_cfg, dist_cfg, resource_limit, join)
        self._launcher, self._distributed, self._timestamp = found.launcher, found.distributed, found.timestamp
        self._rank, self._world_size = found.rank, found.world_size
        self._set_data_axis()
        self._randomness = dict(randomness or {"seed": None})
        self.set_randomness(**self._randomness)

    def _setup_distributed(self, launcher: str, **dist_cfg: Any) -> None:
        """Join the process group that ``launcher`` started processes for."""
        dist.init_dist(launcher, **dist_cfg)

    def _set_data_axis(self) -> None:
        """Say which ranks see different samples, see ``dist.axes``: here all of them."""
        dist.set_data_axis(None)

    def _claim_log_dir(self, experiment_name: str | None) -> str:
        """Make the log folder and return its name: the time stamp, with a number behind it where another run that began
        in the same second has it already, or has a logger of that name in this process."""

        def first_free() -> str:
            for taken in itertools.count():
                stamp = f"{self._timestamp}_{taken}" if taken else self._timestamp
                if claimed(os.path.join(self._work_dir, stamp), run_name(experiment_name, stamp)):
                    break
            return stamp

        return dist.from_main(first_free)

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
        return self._launcher

    @property
    def distributed(self) -> bool:
        """Whether a launcher started several processes."""
        return self._distributed

    @property
    def seed(self) -> int:
        """The seed of the run, given or drawn."""
        return self._seed

    @property
    def rank(self) -> int:
        """Rank of this process."""
        return self._rank

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return self._world_size

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
        self.deterministic, self.diff_rank_seed, self.keyed = (
            settings.deterministic,
            settings.diff_rank_seed,
            settings.keyed,
        )
        self._set_randomness(**randomness)

    def _set_randomness(
        self, seed: int | None = None, diff_rank_seed: bool = False, deterministic: bool = False, **others: Any
    ) -> None:
        """Seed this process, and note the seed of the run as ``_seed``."""
        self._seed = set_randomness(Randomness(seed, diff_rank_seed, deterministic, **others), dist.data_info()[0])

    @property
    def device(self) -> torch.device:
        """Where this process computes: the device of :func:`default_device`, asked for once."""
        if not hasattr(self, "_device"):
            self._device = default_device()
        return self._device

    def collect_env(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the machine is, under MMEngine's names; and what this run was told of its environment."""
        runtime = {**self._env_kwargs, **self.randomness}
        runtime["Distributed launcher"] = self.launcher
        runtime["Distributed training"] = self.distributed
        runtime["GPU number"] = self.world_size
        return collect_env(), runtime

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

        With ``accumulative_counts`` give ``max_iters``, so that the last window is known to be short. After it
        :meth:`save_checkpoint` and :meth:`resume` also keep the random streams and how many losses were used.
        """
        if not self._prepared:
            self.dispatch_kwargs.update(dispatch_kwargs or {})
            self.place_model(model)
            self.init_model_weights()
            if optim_wrapper is not None:
                self.attach_optim_wrapper(optim_wrapper)
                self.scale_lr()
                self._count_losses_from(0)
            if param_scheduler is not None:
                self.attach_schedulers(param_scheduler)
            self.compile(compile)
            self._prepared = True
        return self._prepared_components()

    def _prepared_components(self) -> Any:
        parts = [self.model, *(getattr(self, n) for n in ("optim_wrapper", "param_schedulers") if hasattr(self, n))]
        return parts[0] if len(parts) == 1 else parts

    def adopt(self, model: nn.Module, optimizer: Any = None, **wrapper_settings: Any) -> Any:
        """Take over objects that a user has built, whose weights stay as they are: rank 0's on all ranks.

        Returns the placed model and the optimizer's wrapper. Where placing replaces parameters, ``optimizer``, which
        may be a wrapper, gets those that have their names; ``wrapper_settings`` are ``type`` and settings of a wrapper
        that is made around it.
        """
        is_wrapper = isinstance(optimizer, BaseOptimWrapper)
        if is_wrapper and wrapper_settings:
            raise ConfigError(f"{optimizer!r} is a wrapper already, so {wrapper_settings!r} would have no effect.")
        self.dispatch_kwargs["init_weights_for_test_or_val"] = False  # there are weights already
        names = {parameter: name for name, parameter in model.named_parameters()}
        self.place_model(model)
        note_placed(self)
        self.init_model_weights()
        if optimizer is not None:
            placed = dict(self.unwrapped_model.named_parameters())
            parts: list[Any] = list(optimizer.values()) if isinstance(optimizer, OptimWrapperDict) else [optimizer]
            for part in parts:
                follow_parameters(part.optimizer if is_wrapper else part, names, placed)
            wrapper = optimizer if is_wrapper else {**wrapper_settings, "optimizer": optimizer}
            self.attach_optim_wrapper(wrapper)
        return self.model, getattr(self, "optim_wrapper", None)

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
        raise ConfigTypeError(f"model should be an nn.Module or a dict, but got {model!r}.")

    def init_model_weights(self) -> None:
        """Call the model's ``init_weights()`` when it has one."""
        self._init_model_weights(self.unwrapped_model)

    def _init_model_weights(self, model: nn.Module) -> nn.Module:
        init = getattr(model, "init_weights", None)
        if init is not None and self.dispatch_kwargs.get("init_weights_for_test_or_val", True):
            init()
        return model

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
        self._scale_lr()

    def _scale_lr(self) -> None:
        cfg = self._auto_scale_lr
        if not cfg or not cfg.get("enable", False):
            return
        if "base_batch_size" not in cfg:
            raise RuleError(f"auto_scale_lr {dict(cfg)!r} lacks base_batch_size, the batch size that the lr is for.")
        if getattr(self, "param_schedulers", None):
            raise ConfigError("scale_lr must be called before the schedulers are built: they store the initial rates.")
        real = dist.data_info()[1] * int(self.dispatch_kwargs["train_micro_batch_size_per_gpu"])
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

    def build_param_scheduler(
        self, scheduler: Any, optim_wrapper: BaseOptimWrapper, default_args: dict[str, Any] | None = None
    ) -> Schedulers:
        """Schedulers from configs or built ones; ``default_args`` and ``dispatch_kwargs`` give the horizon."""
        horizon = {**self.dispatch_kwargs, **(default_args or {})}
        return make_schedulers(scheduler, optim_wrapper, horizon, self._build_param_scheduler)

    def _build_param_scheduler(
        self, scheduler: Any, optim_wrapper: BaseOptimWrapper, default_args: dict[str, Any]
    ) -> list[Any]:
        """Schedulers of one optimizer."""
        return schedulers_for_one(scheduler, optim_wrapper, default_args)

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

    def check_hooks(self, hooks: Iterable[Any]) -> None:
        """To be called before training begins: ConfigError for a hook that cannot do its work here."""
        return

    def trainable_changed(self) -> None:
        """To be called where parameters begin or cease to require gradients; here nobody has to know."""
        return

    def grad_sync(self, on: bool) -> AbstractContextManager[Any]:
        """Within it gradients are (``on``) or are not exchanged between ranks; nothing to do in one process."""
        return nullcontext()
