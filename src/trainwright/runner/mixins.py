"""The published methods of Runner, by subject: facts about the run, hooks, builders, checkpoints."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from trainwright import data
from trainwright.base.errors import CheckpointError
from trainwright.base.logs import MMLogger
from trainwright.checkpoint import CheckpointManager
from trainwright.checkpoint.weights import STRIP_MODULE, ReviseKeys
from trainwright.config import Config
from trainwright.engine import HookTable, priority_name
from trainwright.io import atomic_write_text
from trainwright.runner import builders
from trainwright.state import Completing, MessageHub, RunContext, Stateful, plain_items, rng
from trainwright.strategies import BaseStrategy
from trainwright.strategies.environment import setup_environment

DEFAULT_HOOKS: dict[str, dict[str, Any]] = {
    "runtime_info": {"type": "RuntimeInfoHook"},
    "timer": {"type": "IterTimerHook"},
    "sampler_seed": {"type": "DistSamplerSeedHook"},
    "logger": {"type": "LoggerHook"},
    "param_scheduler": {"type": "ParamSchedulerHook"},
    "checkpoint": {"type": "CheckpointHook", "interval": 1},
}


class RunnerParts:
    """The attributes that the mixins share; each has one owner and one type for life."""

    cfg: Config
    ctx: RunContext
    logger: MMLogger
    message_hub: MessageHub
    model: nn.Module
    optim_wrapper: Any
    param_schedulers: Any
    strategy: BaseStrategy
    visualizer: Any
    log_processor: Any
    _specs: dict[str, Any]
    _loops: dict[str, Any]
    _load_from: str | None
    _resume: bool | str
    _has_loaded: bool
    _pending_streams: dict[str, Any] | None
    _randomness_cfg: dict[str, Any]
    _earlier_log_dirs: list[str]

    @property
    def log_dirs(self) -> list[str]:
        """The log folders of this training, relative to ``work_dir``: one for each part between two resumes."""
        return [*self._earlier_log_dirs, os.path.relpath(self.strategy.log_dir, self.strategy.work_dir)]

    @property
    def _table(self) -> HookTable:
        table = self.ctx.hooks
        assert isinstance(table, HookTable)
        return table


class FactsMixin(RunnerParts):
    """What the run is called, where it is, and how far it has come."""

    @property
    def experiment_name(self) -> str:
        """Name of the experiment, with the time stamp."""
        return self.strategy.experiment_name

    @property
    def model_name(self) -> str:
        """Class name of the model."""
        return type(self.strategy.unwrapped_model).__name__

    @property
    def work_dir(self) -> str:
        """Where checkpoints go."""
        return self.strategy.work_dir

    @property
    def log_dir(self) -> str:
        """Where logs go."""
        return self.strategy.log_dir

    @property
    def timestamp(self) -> str:
        """When the run began."""
        return self.strategy.timestamp

    @property
    def launcher(self) -> str:
        """How the processes were started."""
        return self.strategy.launcher

    @property
    def distributed(self) -> bool:
        """Whether several processes take part."""
        return self.strategy.distributed

    @property
    def rank(self) -> int:
        """Rank of this process."""
        return self.strategy.rank

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return self.strategy.world_size

    @property
    def seed(self) -> int:
        """The seed of the run, given or drawn."""
        return self.strategy.seed

    @property
    def deterministic(self) -> bool:
        """Whether deterministic algorithms were asked for."""
        return self.strategy.deterministic

    @property
    def epoch(self) -> int:
        """Index of the running epoch."""
        return self.ctx.clock.epoch

    @property
    def iter(self) -> int:
        """Index of the running iteration."""
        return self.ctx.clock.iter

    @property
    def max_epochs(self) -> int | None:
        """Planned epochs; 1 in iteration-based training."""
        return self.ctx.clock.max_epochs

    @property
    def max_iters(self) -> int | None:
        """Planned iterations; None when the loader has no length."""
        return self.ctx.clock.max_iters

    @property
    def val_begin(self) -> int:
        """The epoch or iteration from which on validation runs during training."""
        return 1 if self._loops.get("train") is None else int(self._loops["train"].val_begin)

    @property
    def val_interval(self) -> int:
        """The interval of validation during training, in epochs or iterations."""
        return 1 if self._loops.get("train") is None else int(self._loops["train"].val_interval)

    def _loader_of(self, name: str) -> Any:
        loop = self._loops.get(name)
        return self._specs[f"{name}_dataloader"] if loop is None else loop.dataloader

    @property
    def train_dataloader(self) -> Any:
        """The training loader; its config as long as nothing needed it."""
        return self._loader_of("train")

    @property
    def val_dataloader(self) -> Any:
        """The validation loader; its config as long as nothing needed it."""
        return self._loader_of("val")

    @property
    def test_dataloader(self) -> Any:
        """The test loader; its config as long as nothing needed it."""
        return self._loader_of("test")

    @property
    def val_evaluator(self) -> Any:
        """The evaluator of validation; its config as long as nothing needed it."""
        loop = self._loops.get("val")
        return self._specs["val_evaluator"] if loop is None else loop.evaluator

    @property
    def test_evaluator(self) -> Any:
        """The evaluator of testing; its config as long as nothing needed it."""
        loop = self._loops.get("test")
        return self._specs["test_evaluator"] if loop is None else loop.evaluator

    def dump_config(self) -> None:
        """Write the config to ``work_dir`` under its own name (``timestamp.py`` when it came from no file)."""
        name = f"{self.timestamp}.py" if self.cfg.filename is None else Path(self.cfg.filename).stem + ".py"
        atomic_write_text(os.path.join(self.work_dir, name), self.cfg.pretty_text)
        self.visualizer.add_config(self.cfg)

    def dump_test_metrics(self, metrics: dict[str, Any]) -> None:
        """Write the metrics of a test to ``log_dir/timestamp.json``."""
        kept, dropped = plain_items(metrics)
        if dropped:
            self.logger.info("test metrics not written, because they are no plain data: %s", ", ".join(dropped))
        text = json.dumps(kept, default=str)
        atomic_write_text(os.path.join(self.log_dir, f"{self.timestamp}.json"), text + "\n")

    def set_randomness(self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False) -> None:
        """Seed this process anew."""
        keyed = self.strategy.keyed
        self.strategy.set_randomness(
            seed=seed, diff_rank_seed=diff_rank_seed, deterministic=deterministic, keyed=keyed
        )

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """Apply ``env_cfg`` (cudnn_benchmark, mp_cfg, dist_cfg, resource_limit) to this process."""
        setup_environment(launcher=self.launcher, **env_cfg)


class HookMixin(RunnerParts):
    """Registering and calling hooks."""

    @property
    def hooks(self) -> list[Any]:
        """The registered hooks in the order in which they are called."""
        return self._table.hooks

    @property
    def _hooks(self) -> list[Any]:
        return self._table.hooks

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call the method ``fn_name`` of all hooks that have one, in order, as ``hook.fn_name(runner, **kwargs)``.

        Loops of your own fire the events of an iteration through this.
        """
        clock = self.ctx.clock
        if fn_name == "after_train_iter":
            clock.completing = Completing.ITERATION
        elif fn_name == "after_train_epoch":
            clock.completing = Completing.EPOCH
        self._table.fire_named(fn_name, **kwargs)

    def register_hook(self, hook: Any, priority: str | int | None = None) -> None:
        """Insert a hook or its config by priority: the argument, else ``hook['priority']``, else the hook's own.

        Hooks of one priority are called in the order of their registration.
        """
        built, from_cfg = builders.build_hook(hook)
        self._table.add(built, from_cfg if priority is None else priority)

    def register_default_hooks(self, hooks: dict[str, Any] | None = None) -> None:
        """Register the six default hooks, changed by ``hooks``; an entry that is None takes that hook out.

        RuntimeInfoHook (10), IterTimerHook (50), DistSamplerSeedHook (50), LoggerHook (60), ParamSchedulerHook (70),
        CheckpointHook with interval 1 (90).
        """
        for hook in builders.merge_default_hooks(DEFAULT_HOOKS, hooks).values():
            self.register_hook(hook)

    def register_custom_hooks(self, hooks: list[Any]) -> None:
        """Register the user's hooks in their order."""
        for hook in hooks:
            self.register_hook(hook)

    def register_hooks(
        self, default_hooks: dict[str, Any] | None = None, custom_hooks: list[Any] | None = None
    ) -> None:
        """Register default hooks, then custom ones."""
        self.register_default_hooks(default_hooks)
        self.register_custom_hooks(custom_hooks or [])

    def get_hooks_info(self) -> str:
        """For each event, in order of a run, the hooks that take part with their priorities."""
        blocks: list[str] = []
        by_stage = [(hook, set(hook.get_triggered_stages())) for hook in self.hooks]
        for stage in self.hooks[0].stages if self.hooks else ():
            lines = [f"({priority_name(h.priority):<12}) {type(h).__name__:<35}" for h, on in by_stage if stage in on]
            if lines:
                blocks.append("\n".join([f"{stage}:", *lines, " -------------------- "]))
        return "\n".join(blocks)


class BuildMixin(RunnerParts):
    """Building parts; a built object passes through."""

    build_evaluator = staticmethod(builders.build_evaluator)
    build_log_processor = staticmethod(builders.build_log_processor)

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader[Any] | dict[str, Any],
        seed: int | None = None,
        diff_rank_seed: bool = False,
        keyed: bool = True,
    ) -> Any:
        """A loader from ``dict(dataset=..., sampler=..., batch_size=..., num_workers=..., ...)``.

        See :func:`trainwright.data.build_dataloader` for the keys and for ``keyed``.
        """
        return data.build_dataloader(dataloader, seed, diff_rank_seed=diff_rank_seed, keyed=keyed)

    def build_model(self, model: nn.Module | dict[str, Any]) -> nn.Module:
        """A model from its config."""
        return self.strategy.build_model(model)

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Move ``model`` to its device; a wrapper is for several processes, and one process needs none."""
        if model_wrapper_cfg is not None:
            self.logger.info("model_wrapper_cfg has no effect with one process")
        return self.strategy._wrap_model(model)

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """An optimizer wrapper from ``dict(optimizer=dict(type=..., lr=...), ...)``; the type defaults to OptimWrapper.

        A dict of built wrappers becomes an OptimWrapperDict; a dict of several configs needs a ``constructor``.
        """
        return self.strategy.build_optim_wrapper(optim_wrapper, self.model)

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """Schedulers for the runner's optim_wrapper: a list, or a dict of lists when there are several optimizers.

        Without an ``end`` a scheduler ends with the training.
        """
        return self.strategy.build_param_scheduler(scheduler, self.optim_wrapper)

    def build_train_loop(self, loop: Any) -> Any:
        """The training loop of a ``train_cfg``, with the runner's train_dataloader."""
        return builders.build_train_loop(self, loop, self._specs["train_dataloader"])

    def build_val_loop(self, loop: Any) -> Any:
        """The validation loop of a ``val_cfg``, with the runner's loader and evaluator."""
        return builders.build_eval_loop(
            self, "val", loop, self._specs["val_dataloader"], self._specs["val_evaluator"]
        )

    def build_test_loop(self, loop: Any) -> Any:
        """The test loop of a ``test_cfg``, with the runner's loader and evaluator."""
        return builders.build_eval_loop(
            self, "test", loop, self._specs["test_dataloader"], self._specs["test_evaluator"]
        )

    def build_logger(self, log_level: int | str = "INFO", log_file: str | None = None, **kwargs: Any) -> MMLogger:
        """The logger of the run."""
        return self.strategy.build_logger(log_level, log_file, **kwargs)

    def build_message_hub(self, message_hub: dict[str, Any] | None = None) -> MessageHub:
        """The runner's own hub, or the one that ``message_hub['name']`` names."""
        return self.message_hub if not message_hub else MessageHub.get_instance(message_hub["name"])

    def build_visualizer(self, visualizer: Any = None) -> Any:
        """A visualizer from its config."""
        return builders.build_visualizer(visualizer, self.strategy.experiment_name, self.strategy.log_dir)

    def scale_lr(self, optim_wrapper: Any, auto_scale_lr: dict[str, Any] | None = None) -> None:
        """Scale the learning rates of ``optim_wrapper`` by real over base batch size, when enabled.

        Call it after the wrapper was built and before the schedulers are.
        """
        strategy = self.strategy
        strategy._auto_scale_lr, strategy.optim_wrapper = auto_scale_lr, optim_wrapper
        strategy.dispatch_kwargs.setdefault("train_micro_batch_size_per_gpu", self._loops["train"].dataloader.batch_size)
        strategy.scale_lr()


class CheckpointMixin(HookMixin):
    """Saving, loading, resuming."""

    def checkpoints(self, folder: str | None = None) -> CheckpointManager:
        """The manager of a folder, ``work_dir`` by default."""
        return CheckpointManager(folder or self.strategy.work_dir, self.strategy.write_tree, self.strategy.read_tree)

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict[str, Any] | None = None,
        by_epoch: bool = True,
    ) -> str:
        """Save the whole training state as ``out_dir/filename`` and return the path.

        What is saved is the state after the running iteration or epoch, from whichever event this is called;
        ``by_epoch`` changes nothing. Order: logged losses are read and must be finite, before_save_checkpoint,
        atomic publishing, after_save_checkpoint. ``meta`` is added to the checkpoint's own.
        """
        tree: dict[str, Any] = {"meta": self._meta(meta), "message_hub": self.message_hub.state_dict()}
        tree.update(self.strategy.state_tree(save_optimizer, save_param_scheduler))
        tree["rng"] = [rng.capture()]
        tree["hooks"] = {name: hook.state_dict() for name, hook in self._stateful_hooks().items()}
        loader = self.train_dataloader
        if isinstance(loader, Stateful):
            tree["loader"] = loader.state_dict()
        self.call_hook("before_save_checkpoint", checkpoint=tree)
        path = self.checkpoints(out_dir).save(filename, tree)
        self.call_hook("after_save_checkpoint", path=path)
        return path

    def _meta(self, meta: dict[str, Any] | None) -> dict[str, Any]:
        from trainwright.base.version import __version__

        dataset = getattr(self.train_dataloader, "dataset", None)
        return {
            **(meta or {}),
            **self.ctx.clock.state_dict(),
            "cfg": self.cfg.pretty_text,
            "seed": self.strategy.seed,
            "experiment_name": self.strategy.experiment_name,
            "log_dirs": self.log_dirs,
            "time": time.strftime("%Y%m%d_%H%M%S", time.localtime()),
            "trainwright_version": __version__,
            "dataset_meta": plain_items(getattr(dataset, "metainfo", None) or {})[0],
        }

    def _stateful_hooks(self) -> dict[str, Any]:
        """Hooks with state by a unique name: the class, with a number from the second one of a class on."""
        named: dict[str, Any] = {}
        for hook in self.hooks:
            if isinstance(hook, Stateful):
                base = type(hook).__name__
                n_same = sum(name.partition("#")[0] == base for name in named)
                named[f"{base}#{n_same}" if n_same else base] = hook
        return named

    def load_checkpoint(
        self,
        filename: str,
        map_location: Any = "cpu",
        strict: bool = False,
        revise_keys: ReviseKeys = STRIP_MODULE,
    ) -> dict[str, Any]:
        """Load the weights of ``filename`` (a path or an fsspec URL) and return the checkpoint.

        ``revise_keys`` renames by regular expressions; by default a leading ``module.`` goes.
        """
        checkpoint = self.strategy.load_checkpoint(
            filename,
            map_location=map_location,
            strict=strict,
            revise_keys=revise_keys,
            callback=lambda tree: self.call_hook("after_load_checkpoint", checkpoint=tree),
        )
        self._has_loaded = True
        self.logger.info("Load checkpoint from %s", filename)
        return checkpoint

    def load_or_resume(self) -> None:
        """Load or resume as ``load_from`` and ``resume`` say; does nothing the second time."""
        if self._has_loaded:
            return
        resume, load_from = self._resume, self._load_from
        if isinstance(resume, str):
            self.resume(resume)
        elif resume:
            path = load_from or self.checkpoints().latest()
            if path is None:
                self.logger.info("nothing to resume in %s: training starts from the beginning", self.strategy.work_dir)
            else:
                self.resume(path)
        elif load_from is not None:
            self.load_checkpoint(load_from)

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: Any = "default",
    ) -> None:
        """Take up the training saved in ``filename``: weights, optimizer, schedulers, counters, data position, random
        streams, hooks and histories. CheckpointError when the file holds weights only."""
        if not self.is_training and self._loops.get("train") is None and self._specs["train_cfg"] is None:
            self.load_checkpoint(filename, map_location="cpu", strict=True)
            return

        def check(tree: dict[str, Any]) -> None:
            if not isinstance(tree.get("meta"), dict) or "iter" not in tree["meta"] or "state_dict" not in tree:
                raise CheckpointError(
                    f"cannot resume from {filename!r}: it holds no training state (keys: {', '.join(map(str, tree))[:200]}). "
                    f"To start from its weights use load_from={filename!r} without resume."
                )
            self.call_hook("after_load_checkpoint", checkpoint=tree)

        checkpoint = self.strategy.resume(
            filename,
            resume_optimizer=resume_optimizer,
            resume_param_scheduler=resume_param_scheduler,
            map_location=map_location,
            callback=check,
        )
        self._has_loaded = True
        self._take_over(checkpoint)
        clock = self.ctx.clock
        self.logger.info("resumed from %s: epoch %d, iteration %d", filename, clock.epoch, clock.iter)

    def _take_over(self, checkpoint: dict[str, Any]) -> None:
        """Everything of a resumed checkpoint that is not the strategy's."""
        meta, loop = checkpoint["meta"], self._loops.get("train")
        self._take_over_seed(meta.get("seed"))
        self._earlier_log_dirs = list(meta.get("log_dirs", []))
        self.ctx.clock.load_state_dict(meta)
        self.message_hub.load_state_dict(checkpoint.get("message_hub", {}))
        saved_hooks = checkpoint.get("hooks", {})
        for name, hook in self._stateful_hooks().items():
            if name in saved_hooks:
                hook.load_state_dict(saved_hooks[name])
        streams = checkpoint.get("rng") or []
        # Put in place right before the loop starts: building and hooks may draw until then.
        self._pending_streams = streams[self.strategy.rank] if self.strategy.rank < len(streams) else None
        if loop is None:
            return
        if "loader" in checkpoint and isinstance(loop.dataloader, Stateful):
            loop.dataloader.load_state_dict(checkpoint["loader"])
        else:
            clock = self.ctx.clock
            loop.batches_to_drop = clock.inner_iter if clock.epoch_length is not None else clock.iter

    def _take_over_seed(self, seed: int | None) -> None:
        configured = self._randomness_cfg.get("seed")
        if seed is None or seed == self.strategy.seed:
            return
        if configured is not None:
            self.logger.warning(
                "randomness has seed=%d and the checkpoint %d: the checkpoint's is used, because the order of the data "
                "must go on as it began. To train on with another one use load_from without resume.",
                configured,
                seed,
            )
        self._randomness_cfg["seed"] = seed
        self.strategy.set_randomness(**self._randomness_cfg)
