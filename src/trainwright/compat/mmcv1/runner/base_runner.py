"""What the runners of MMCV 1.x share: hooks, counters, checkpoints."""

from __future__ import annotations

import copy
import logging
import os
import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch.optim import Optimizer

from trainwright.compat.mmcv1.errors import LackingError, demand
from trainwright.compat.mmcv1.parallel import is_module_wrapper
from trainwright.compat.mmcv1.runner import exact
from trainwright.compat.mmcv1.runner.checkpoint import load_checkpoint
from trainwright.compat.mmcv1.runner.dist_utils import get_dist_info
from trainwright.compat.mmcv1.runner.hooks import HOOKS, Hook
from trainwright.compat.mmcv1.runner.log_buffer import LogBuffer
from trainwright.compat.mmcv1.runner.priority import Priority, get_priority
from trainwright.compat.mmcv1.runner.resuming import ResumingMixin
from trainwright.compat.mmcv1.runner.stages import StageTable
from trainwright.compat.mmcv1.runner.utils import get_host_info, get_time_str
from trainwright.compat.mmcv1.utils.registry import build_from_cfg
from trainwright.engine import Phase, run_iter
from trainwright.engine.loops.workflow import Plan, Turn
from trainwright.state import Completing, RunContext
from trainwright.strategies.adopt import AdoptedStrategy


class BaseRunner(ResumingMixin, metaclass=ABCMeta):
    """Trains ``model`` with hooks; a subclass says in which order (API of mmcv.runner.BaseRunner).

    ``model`` has ``train_step(data, optimizer)`` and ``val_step``, or ``batch_processor(model, data, train_mode)`` is
    given in their place. ``optimizer`` is one, a dict of several, or None. ``meta`` goes into each checkpoint.
    The counters ``_epoch``, ``_iter``, ``_max_epochs`` and ``_max_iters`` are those of the run's clock, and may be set.
    """

    COMPLETED_BY: ClassVar[dict[str, Completing]] = {
        "after_train_iter": Completing.ITERATION,
        "after_train_epoch": Completing.EPOCH,
    }

    def __init__(
        self,
        model: torch.nn.Module,
        batch_processor: Callable[..., Any] | None = None,
        optimizer: Optimizer | dict[str, Optimizer] | None = None,
        work_dir: str | None = None,
        logger: logging.Logger | None = None,
        meta: dict[str, Any] | None = None,
        max_iters: int | None = None,
        max_epochs: int | None = None,
    ) -> None:
        _check_model(model, batch_processor)
        _check_optimizer(optimizer)
        if not isinstance(logger, logging.Logger):
            raise TypeError(f"logger must be a logging.Logger object, but got {logger!r} of {type(logger)}")
        if meta is not None and not isinstance(meta, dict):
            raise TypeError(f"meta must be a dict or None, but got {meta!r} of {type(meta)}")
        if work_dir is not None and not isinstance(work_dir, str):
            raise TypeError(f'"work_dir" must be a str or None, but got {work_dir!r} of {type(work_dir)}')
        if max_epochs is not None and max_iters is not None:
            raise ValueError(
                f"Only one of `max_epochs` or `max_iters` can be set, but got max_epochs={max_epochs!r} and "
                f"max_iters={max_iters!r}"
            )
        self.model = model
        self.batch_processor = batch_processor
        self.optimizer = optimizer
        self.logger = logger
        self.meta = meta
        self.work_dir = None if work_dir is None else os.path.abspath(work_dir)
        if self.work_dir is not None:
            os.makedirs(os.path.expanduser(self.work_dir), mode=0o777, exist_ok=True)
        self._model_name = type(getattr(model, "module", model)).__name__
        self._rank, self._world_size = get_dist_info()
        self.timestamp = get_time_str()
        self.mode: str | None = None
        self._stages = StageTable(self, BaseRunner.call_hook)
        self.ctx = RunContext("mmcv1", self._stages)
        self._inner_iter = 0
        self._max_epochs = max_epochs
        self._max_iters = max_iters
        self.log_buffer = LogBuffer(self.ctx.metrics)
        self._strategy: AdoptedStrategy | None = None
        self._plan: Plan = []
        self._turn: Turn | None = None
        self._resumption: exact.Resumption | None = None
        self._gathered: tuple[int, dict[int, Any]] | None = None

    @property
    def strategy(self) -> AdoptedStrategy:
        """The state of the model and the optimizer of now, as the rest of the package sees it."""
        made = self._strategy
        if made is None or made.model is not self.model or made.given_optimizer is not self.optimizer:
            made = AdoptedStrategy(self.model, self.optimizer, work_dir=self.work_dir, logger=self.logger)
            self._strategy = made
        return made

    @property
    def model_name(self) -> str:
        """Name of the model's class, without its wrapper."""
        return self._model_name

    @property
    def rank(self) -> int:
        """Rank of this process."""
        return self._rank

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return self._world_size

    @property
    def hooks(self) -> list[Hook]:
        """The hooks in the order in which they are called."""
        return self._hooks

    @property
    def _hooks(self) -> list[Hook]:
        return self._stages.hooks

    @_hooks.setter
    def _hooks(self, hooks: list[Hook]) -> None:
        self._stages.hooks = hooks
        self._stages.rebuild()

    @property
    def epoch(self) -> int:
        """Index of the running epoch."""
        return self.ctx.clock.epoch

    @property
    def _epoch(self) -> int:
        return self.ctx.clock.epoch

    @_epoch.setter
    def _epoch(self, value: int) -> None:
        self.ctx.clock.epoch = value

    @property
    def iter(self) -> int:
        """Index of the running iteration."""
        return self.ctx.clock.iter

    @property
    def _iter(self) -> int:
        return self.ctx.clock.iter

    @_iter.setter
    def _iter(self, value: int) -> None:
        self.ctx.clock.iter = value

    @property
    def inner_iter(self) -> int:
        """Index of the running batch in its epoch, or in its share of the workflow, of training or of validation."""
        return self._inner_iter

    @property
    def max_epochs(self) -> int | None:
        """Planned epochs."""
        return self.ctx.clock.max_epochs

    @property
    def _max_epochs(self) -> Any:
        return self.ctx.clock.max_epochs

    @_max_epochs.setter
    def _max_epochs(self, value: int | None) -> None:
        self.ctx.clock.max_epochs = value

    @property
    def max_iters(self) -> int | None:
        """Planned iterations."""
        return self.ctx.clock.max_iters

    @property
    def _max_iters(self) -> Any:
        return self.ctx.clock.max_iters

    @_max_iters.setter
    def _max_iters(self, value: int | None) -> None:
        self.ctx.clock.max_iters = value

    @abstractmethod
    def train(self, data_loader: Any, **kwargs: Any) -> None:
        """One unit of training: an epoch, or an iteration."""

    @abstractmethod
    def val(self, data_loader: Any, **kwargs: Any) -> None:
        """One unit of validation."""

    @abstractmethod
    def run(self, data_loaders: list[Any], workflow: list[tuple[str, int]], **kwargs: Any) -> None:
        """The whole workflow, until the planned end."""

    @abstractmethod
    def save_checkpoint(
        self,
        out_dir: str,
        filename_tmpl: str,
        save_optimizer: bool = True,
        meta: dict[str, Any] | None = None,
        create_symlink: bool = True,
    ) -> None:
        """Write a checkpoint into ``out_dir``."""

    def current_lr(self) -> Any:
        """The learning rates of all parameter groups, as a list; a dict of lists for several optimizers."""
        return self._of_groups(lambda group: group["lr"], "lr")

    def current_momentum(self) -> Any:
        """The momentums of all parameter groups, or the first beta; 0 where there is neither."""
        return self._of_groups(
            lambda group: group["momentum"] if "momentum" in group else group.get("betas", (0,))[0], "momentum"
        )

    def _of_groups(self, value_of: Callable[[dict[str, Any]], float], name: str) -> Any:
        if isinstance(self.optimizer, Optimizer):
            return [value_of(group) for group in self.optimizer.param_groups]
        if isinstance(self.optimizer, dict):
            return {key: [value_of(group) for group in one.param_groups] for key, one in self.optimizer.items()}
        raise RuntimeError(f"{name} is not applicable because optimizer does not exist: the runner was made without")

    # hooks ------------------------------------------------------------------------------------------------------------

    def register_hook(self, hook: Hook, priority: int | str | Priority = "NORMAL") -> None:
        """Add a hook behind those of the same or an earlier priority."""
        demand(isinstance(hook, Hook), f"a hook must be an instance of Hook, but got {hook!r}")
        if hasattr(hook, "priority"):
            raise ValueError(
                f'"priority" is a reserved attribute for hooks, which register_hook sets, and {type(hook).__name__} '
                "has one: it was registered already, or its class uses the name"
            )
        self._stages.add(hook, get_priority(priority))

    def register_hook_from_cfg(self, hook_cfg: dict[str, Any]) -> None:
        """Add the hook that a dict with ``type``, and maybe ``priority``, describes."""
        hook_cfg = hook_cfg.copy()
        priority = hook_cfg.pop("priority", "NORMAL")
        self.register_hook(build_from_cfg(hook_cfg, HOOKS), priority=priority)

    def call_hook(self, fn_name: str) -> None:
        """Call the method of that name of all hooks."""
        clock = self.ctx.clock
        before, clock.completing = clock.completing, self.COMPLETED_BY.get(fn_name, clock.completing)
        try:
            for hook in self._hooks:
                getattr(hook, fn_name)(self)
        finally:
            clock.completing = before

    def get_hook_info(self) -> str:
        """The hooks at each stage, with their priorities, as text."""
        infos = []
        for stage in Hook.stages:
            lines = [
                f"({_name_of(hook.priority):<12}) {type(hook).__name__:<35}"
                for hook in self.hooks
                if stage in hook.get_triggered_stages()
            ]
            if lines:
                infos.append("\n".join([f"{stage}:", *lines, " -------------------- "]))
        return "\n".join(infos)

    def register_lr_hook(self, lr_config: Any) -> None:
        """Add the learning rate hook: a hook, or a dict whose ``policy`` is the beginning of its class name."""
        self._register_policy(lr_config, "LrUpdaterHook", "VERY_HIGH")

    def register_momentum_hook(self, momentum_config: Any) -> None:
        """Add the momentum hook: a hook, or a dict whose ``policy`` is the beginning of its class name."""
        self._register_policy(momentum_config, "MomentumUpdaterHook", "HIGH")

    def _register_policy(self, config: Any, suffix: str, priority: str) -> None:
        if isinstance(config, dict):
            demand("policy" in config, f"a config of a {suffix} must have the key 'policy', but got {config!r}")
            config = config.copy()
            policy = config.pop("policy")
            # 'cyclic' for 'Cyclic'; what has a capital, as 'CosineAnnealing', stays as it is
            config["type"] = (policy.title() if policy == policy.lower() else policy) + suffix
        self._register(config, None, priority)

    def _register(self, config: Any, kind: str | None, priority: str) -> None:
        if config is None:
            return
        if isinstance(config, dict):
            config = config.copy()
            if kind is not None:
                config.setdefault("type", kind)
            config = build_from_cfg(config, HOOKS)
        self.register_hook(config, priority=priority)

    def register_optimizer_hook(self, optimizer_config: Any) -> None:
        """Add what makes the optimizer's steps."""
        self._register(optimizer_config, "OptimizerHook", "ABOVE_NORMAL")

    def register_checkpoint_hook(self, checkpoint_config: Any) -> None:
        """Add what saves checkpoints."""
        self._register(checkpoint_config, "CheckpointHook", "NORMAL")

    def register_logger_hooks(self, log_config: Any) -> None:
        """Add the ``hooks`` of a dict, each with its ``interval`` unless it has one of its own."""
        if log_config is None:
            return
        for name in ("interval", "hooks"):
            if name not in log_config:
                raise LackingError(f"log_config must have the keys 'interval' and 'hooks', but got {log_config!r}")
        for info in log_config["hooks"]:
            hook = build_from_cfg(info, HOOKS, default_args={"interval": log_config["interval"]})
            self.register_hook(hook, priority="VERY_LOW")

    def register_timer_hook(self, timer_config: Any) -> None:
        """Add what measures the time of iterations."""
        self._register(copy.deepcopy(timer_config) if isinstance(timer_config, dict) else timer_config, None, "LOW")

    def register_custom_hooks(self, custom_config: Any) -> None:
        """Add hooks of the user's: one or a list, objects or dicts, which may have a ``priority``."""
        if custom_config is None:
            return
        for item in custom_config if isinstance(custom_config, list) else [custom_config]:
            if isinstance(item, dict):
                self.register_hook_from_cfg(item)
            else:
                self.register_hook(item, priority="NORMAL")

    def register_profiler_hook(self, profiler_config: Any) -> None:
        """Add what profiles."""
        self._register(profiler_config, "ProfilerHook", "NORMAL")

    def register_training_hooks(
        self,
        lr_config: Any,
        optimizer_config: Any = None,
        checkpoint_config: Any = None,
        log_config: Any = None,
        momentum_config: Any = None,
        timer_config: Any = {"type": "IterTimerHook"},  # noqa: B006 - it is copied
        custom_hooks_config: Any = None,
    ) -> None:
        """Add the hooks of a training, each with its priority; custom ones come behind those of the same priority."""
        self.register_lr_hook(lr_config)
        self.register_momentum_hook(momentum_config)
        self.register_optimizer_hook(optimizer_config)
        self.register_checkpoint_hook(checkpoint_config)
        self.register_timer_hook(timer_config)
        self.register_logger_hooks(log_config)
        self.register_custom_hooks(custom_hooks_config)

    # running ----------------------------------------------------------------------------------------------------------

    def load_checkpoint(
        self,
        filename: str,
        map_location: Any = "cpu",
        strict: bool = False,
        revise_keys: Sequence[tuple[str, str]] = ((r"^module.", ""),),
    ) -> Any:
        """Load weights into the model, and return all that the file holds."""
        return load_checkpoint(self.model, filename, map_location, strict, self.logger, revise_keys=list(revise_keys))

    def _presenting(self, phase: Phase, step: Callable[[Any], Any]) -> Callable[[int, Any], None]:
        """An iteration whose batch hooks find on the runner."""
        ctx = self.ctx

        def iterate(index: int, batch: Any) -> None:
            self.data_batch = batch
            self._inner_iter = index
            run_iter(ctx, phase, step, index, batch)
            del self.data_batch

        return iterate

    def _keep_outputs(self, outputs: Any, source: str) -> None:
        """Put what a step returned on the runner, and its ``log_vars`` into the log buffer."""
        if not isinstance(outputs, dict):
            raise TypeError(f"{source} must return a dict, but got {outputs!r} of {type(outputs)}")
        if "log_vars" in outputs:
            if "num_samples" not in outputs:
                raise LackingError(
                    f"{source} gives log_vars without num_samples, the number that averages weigh them by: it has "
                    f"{', '.join(map(str, outputs))}"
                )
            self.log_buffer.update(outputs["log_vars"], outputs["num_samples"])
        self.outputs = outputs

    def _announce(self, workflow: Plan, end: str) -> None:
        where = self.work_dir if self.work_dir is not None else "NONE"
        self.logger.info("Training begins on host: %s, work_dir: %s", get_host_info(), where)
        self.logger.info("The hooks of each stage, in the order in which they are called:\n%s", self.get_hook_info())
        self.logger.info("workflow: %s, max: %s", workflow, end)


def check_workflow(data_loaders: Any, workflow: Any) -> None:
    """Each phase of a workflow is a tuple, and has a loader."""
    demand(isinstance(data_loaders, list), f"data_loaders must be a list, but got {data_loaders!r}")
    is_plan = isinstance(workflow, list) and all(isinstance(flow, tuple) for flow in workflow)
    demand(is_plan, f"workflow must be a list of tuples (mode, number), but got {workflow!r}")
    demand(
        len(data_loaders) == len(workflow),
        f"each phase of the workflow needs a data loader of its own: got {len(workflow)} phases and "
        f"{len(data_loaders)} loaders",
    )


def _name_of(priority: int) -> Any:
    try:
        return Priority(priority).name
    except ValueError:
        return priority


def _check_model(model: Any, batch_processor: Any) -> None:
    if batch_processor is None:
        demand(
            hasattr(model, "train_step"),
            f"{type(model).__name__} has no train_step(data, optimizer): write one, and val_step() for validation",
        )
        return
    if not callable(batch_processor):
        raise TypeError(f"batch_processor must be callable, but got {batch_processor!r} of {type(batch_processor)}")
    warnings.warn(
        "batch_processor is deprecated, give the model train_step() and val_step() instead",
        DeprecationWarning,
        stacklevel=4,
    )
    inner = model.module if is_module_wrapper(model) else model
    if hasattr(inner, "train_step") or hasattr(inner, "val_step"):
        raise RuntimeError(
            "batch_processor and model.train_step()/model.val_step() cannot be both available, and "
            f"{type(inner).__name__} has such a method: drop batch_processor"
        )


def _check_optimizer(optimizer: Any) -> None:
    if isinstance(optimizer, dict):
        for name, one in optimizer.items():
            if not isinstance(one, Optimizer):
                raise TypeError(
                    f'optimizer must be a dict of torch.optim.Optimizers, but optimizer["{name}"] is a {type(one)}'
                )
    elif optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"optimizer must be a torch.optim.Optimizer object or dict or None, but got {optimizer!r} of "
            f"{type(optimizer)}"
        )
