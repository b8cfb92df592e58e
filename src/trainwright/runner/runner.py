"""The config-first front door."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

from torch import nn

from trainwright.base.errors import MissingPartError, demand
from trainwright.base.lazy import LazyObject
from trainwright.checkpoint import CheckpointManager
from trainwright.config import Config, ConfigDict
from trainwright.data.sliced import SlicedDataset
from trainwright.dist import launcher_or_found
from trainwright.engine import HookTable
from trainwright.engine.loops import follow_counters
from trainwright.optim import OptimWrapper, OptimWrapperDict, _ParamScheduler
from trainwright.registry import RUNNERS
from trainwright.runner import bringup, builders, check
from trainwright.runner import fast_dev_run as fast_dev
from trainwright.runner.building import BuildMixin
from trainwright.runner.checkpointing import CheckpointMixin
from trainwright.runner.checks.keys import raw
from trainwright.runner.places import placed
from trainwright.runner.preemption import preemptible
from trainwright.runner.published import PublishedMixin
from trainwright.runner.spec import ENV_CFG, RANDOMNESS
from trainwright.state import RunContext
from trainwright.strategies import BaseStrategy

ConfigType = dict[str, Any] | Config | ConfigDict
ParamSchedulerType = list[_ParamScheduler] | dict[str, list[_ParamScheduler]]
OptimWrapperType = OptimWrapper | OptimWrapperDict
_SlicedDataset = SlicedDataset  # MMEngine's name


@RUNNERS.register_module(name=["Runner", "FlexibleRunner"])
class Runner(PublishedMixin, BuildMixin, CheckpointMixin):
    """Trains, validates and tests a model from a config or from built objects (API of mmengine's Runner).

    The model is built at once; training, validation and test parts only when ``train()``, ``val()`` or ``test()`` asks
    for them. Everything that can be known to be wrong is refused here, before a device or a process group exists.

    Args:
        model: An nn.Module with ``train_step``, ``val_step`` and ``test_step``, or its config.
        work_dir: Folder of the checkpoints; logs go to ``work_dir/timestamp``.
        train_dataloader, val_dataloader, test_dataloader: Loaders or their configs, see :meth:`build_dataloader`.
        train_cfg: ``dict(by_epoch=True, max_epochs=..., val_begin=1, val_interval=1)``, ``dict(by_epoch=False,
            max_iters=...)`` or ``dict(type=...)``. Goes together with train_dataloader and optim_wrapper.
        val_cfg, test_cfg: ``dict()`` or ``dict(type=...)``; ``fp16=True`` evaluates under autocast, ``loss=True`` adds
            the model's losses to the metrics. Each goes together with its loader and evaluator; several loaders by name
            are several sets, each with an evaluator of its own.
        auto_scale_lr: ``dict(base_batch_size=..., enable=False)``.
        optim_wrapper: An OptimWrapper or its config, see :meth:`build_optim_wrapper`.
        param_scheduler: A scheduler, a config or a list of them; with several optimizers also a dict by their names.
        val_evaluator, test_evaluator: An evaluator, a metric's config, or a list of them.
        default_hooks: Changes to the six default hooks, see :meth:`register_default_hooks`.
        custom_hooks: Further hooks or their configs.
        data_preprocessor: Put into the model's config when that has none.
        load_from: Checkpoint whose weights are loaded; with ``resume`` the whole training is taken up from it.
        resume: True takes up the training from ``load_from``, or from the latest checkpoint in ``work_dir`` if any.
        resume_cfg: How to load or resume: ``resume_optimizer``, ``resume_param_scheduler``, ``map_location``,
            ``revise_keys``, ``strict``, ``allow_inexact``; see :class:`~trainwright.runner.resume_cfg.ResumeCfg`.
        trust_checkpoint: Let the file of ``load_from`` or ``resume`` run code where it holds unknown objects.
        launcher: How the processes were started: 'none' for one, 'pytorch' by torchrun; None finds torchrun by itself.
        env_cfg: ``cudnn_benchmark``, ``mp_cfg``, ``dist_cfg``, ``resource_limit``, ``preemption`` (see
            :class:`~trainwright.runner.preemption.PreemptionCfg`), ``watchdog`` (see
            :class:`~trainwright.runner.watchdog_cfg.WatchdogCfg`).
        log_processor: Config of the log line. log_level: For the console and the log file.
        visualizer: A Visualizer or its config; by default scalars go to JSON lines.
        default_scope: Where the registries look first.
        randomness: ``seed``, ``diff_rank_seed``, ``deterministic``, and ``keyed``: True (the default) makes data a
            function of (seed, epoch, index), so that a resume is exact; False gives MMEngine's numbers.
        experiment_name: Stands before the time stamp; by default the name of the config's file, if it has one.
        cfg: The full config, for the record.
        strategy: How parameters are placed: ``dict(type=...)``, or a BaseStrategy; by default one device, and with a
            launcher DDPStrategy. ``model_wrapper_cfg``, ``find_unused_parameters`` and ``sync_bn`` of ``cfg`` are for
            it. A built one brings its own work_dir, experiment_name, launcher, env_cfg, randomness, log_level and
            auto_scale_lr, and those here are not used.
        compile: True or options of torch.compile; also read from ``cfg['compile']``.
        fast_dev_run: True or a number of batches: one epoch of 1 or so many, and a validation of as many; without
            checkpoints and trackers, in a temporary folder, so that nothing is kept.

    Raises:
        ConfigError: Parts that do not go together, unknown names, wrong arguments; all that were found, at once.
        WorkDirError: ``work_dir`` cannot be written.
    """

    def __init__(
        self,
        model: nn.Module | dict[str, Any],
        work_dir: str,
        train_dataloader: Any = None,
        val_dataloader: Any = None,
        test_dataloader: Any = None,
        train_cfg: dict[str, Any] | None = None,
        val_cfg: dict[str, Any] | None = None,
        test_cfg: dict[str, Any] | None = None,
        auto_scale_lr: dict[str, Any] | None = None,
        optim_wrapper: Any = None,
        param_scheduler: Any = None,
        val_evaluator: Any = None,
        test_evaluator: Any = None,
        default_hooks: dict[str, Any] | None = None,
        custom_hooks: list[Any] | None = None,
        data_preprocessor: Any = None,
        load_from: str | None = None,
        resume: bool | str = False,
        launcher: str | None = None,
        env_cfg: dict[str, Any] = ENV_CFG,
        log_processor: Any = None,
        log_level: int | str = "INFO",
        visualizer: Any = None,
        default_scope: str = "mmengine",
        randomness: dict[str, Any] = RANDOMNESS,
        experiment_name: str | None = None,
        cfg: Any = None,
        resume_cfg: dict[str, Any] | None = None,
        trust_checkpoint: bool = False,
        strategy: BaseStrategy | dict[str, Any] | None = None,
        compile: bool | dict[str, Any] | None = None,
        fast_dev_run: bool | int = False,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        is_whole = check.is_whole(cfg)
        self.cfg = cfg if is_whole else _as_config(cfg)
        given["launcher"] = launcher_or_found(launcher)
        given["compile"] = dict.get(raw(self.cfg), "compile", False) if compile is None else compile
        specs = {name: _private_copy(value) for name, value in given.items() if name != "cfg"}
        problems = check.find_problems(specs, self.cfg, has_all_keys=is_whole, reach_out=True)
        self._warnings = check.refuse(problems)
        self._specs: dict[str, Any] = {name: _imported(value) for name, value in specs.items()}
        self._configs = dict(self._specs) if isinstance(self._specs["model"], dict) else {**self._specs, "model": None}
        self.fast_dev_run = fast_dev.n_batches(fast_dev_run)
        if self.fast_dev_run:
            self._warnings = []  # they are for the whole training
            fast_dev.set_apart(self, self._specs)
        self._scope = str(default_scope or "mmengine")
        self._randomness_cfg = dict(randomness or {"seed": None})
        with placed(self.cfg, {"strategy": self._specs["strategy"]}):
            self.strategy = self._make_strategy(self._specs["strategy"])
        if self.strategy is strategy:
            self._randomness_cfg = dict(strategy.randomness)
        self.logger = self.strategy.logger
        self.ctx = RunContext(self.strategy.experiment_name, HookTable(self))
        self.message_hub = self.ctx.hub
        self._load_from, self._resume = self._specs["load_from"], self._specs["resume"]
        self._has_loaded = False
        self._managers: dict[str, CheckpointManager] = {}
        self._loops: dict[str, Any] = {}
        self._pending_streams: dict[str, Any] | None = None
        self._earlier_log_dirs: list[str] = []
        self._optim_wrapper = self._param_schedulers = None
        try:
            with bringup.scoped(self), bringup.together(self):
                self._build_first_parts()
        finally:
            self.logger.close_files()

    def _build_first_parts(self) -> None:
        spec = self._specs
        with placed(self.cfg, {"visualizer": spec["visualizer"]}):
            self.visualizer = self.build_visualizer(spec["visualizer"])
        with placed(self.cfg, {"log_processor": spec["log_processor"]}):
            self.log_processor = self.build_log_processor(spec["log_processor"] or {})
        with placed(self.cfg, {"data_preprocessor": spec["data_preprocessor"], "model": self._configs["model"]}):
            self.strategy.place_model(self._model_spec())
        with placed(self.cfg, {name: spec[name] for name in ("default_hooks", "custom_hooks")}):
            self.register_hooks(spec["default_hooks"], spec["custom_hooks"])
        if self.fast_dev_run:
            fast_dev.drop_savers(self)
        bringup.log_start(self)
        self.dump_config()

    def _make_strategy(self, strategy: BaseStrategy | dict[str, Any] | None) -> BaseStrategy:
        given = {name: self._specs[name] for name in ("launcher", "env_cfg", "log_level")}
        name = self._specs["experiment_name"]
        if not name and self.cfg.filename is not None:
            name = Path(self.cfg.filename).stem
        return self.build_strategy(strategy, randomness=self._randomness_cfg, experiment_name=name, **given)

    def _model_spec(self) -> Any:
        """The model's config, completed by ``data_preprocessor``; the model itself is not kept as a spec."""
        model, preprocessor = self._specs.pop("model"), self._specs["data_preprocessor"]
        if isinstance(model, dict) and preprocessor is not None:
            model.setdefault("data_preprocessor", preprocessor)
        return model

    @classmethod
    def from_cfg(cls, cfg: Config | ConfigDict | dict[str, Any]) -> Runner:
        """A runner from a whole config: its keys are the arguments of the constructor.

        Keys that no argument has are the user's own variables; one that looks like a misspelt argument is an error,
        and one that nothing else is made from is warned of.
        """
        cfg = _as_config(cfg)
        with check.whole(cfg):
            return cls(cfg=cfg, **check.runner_arguments(cfg))

    def train(self) -> nn.Module:
        """Train; returns the model.

        Order: train loop and loader, optimizer wrapper, ``scale_lr``, schedulers, validation loop, before_run, weights
        initialised, checkpoint loaded or resumed, compile, the loop, after_run. Ctrl-C stops at the next iteration
        boundary, saves, and raises Interrupted, which names the checkpoint; a second one stops at once. So do SIGTERM
        and SIGUSR1, and raise Preempted: the run is to be started again.
        """
        if self._specs["train_cfg"] is None:
            raise MissingPartError(
                "train() needs train_dataloader, train_cfg and optim_wrapper, which should not be None, and the runner "
                "was made without them."
            )
        self._need_method("train_step", "train")
        if self._specs["val_cfg"] is not None:
            self._need_method("val_step", "validate")
        with bringup.scoped(self), bringup.sole_run(self), bringup.closing(self), preemptible(self):
            bringup.prepare_training(self)
            bringup.run_training(self)
        return self.model

    def val(self) -> dict[str, Any]:
        """Validate; returns the metrics. Weights are those of ``load_from`` or a resumed checkpoint, if configured."""
        return self._evaluate("val")

    def test(self) -> dict[str, Any]:
        """Test; returns the metrics. Weights as in :meth:`val`."""
        return self._evaluate("test")

    def _evaluate(self, name: str) -> dict[str, Any]:
        if self._specs[f"{name}_cfg"] is None:
            raise MissingPartError(
                f"{name}() needs {name}_dataloader, {name}_cfg and {name}_evaluator, which should not be None, and the "
                "runner was made without them."
            )
        self._need_method(f"{name}_step", "validate" if name == "val" else name)
        with bringup.scoped(self), bringup.closing(self):
            loop = self.val_loop if name == "val" else self.test_loop
            self.call_hook("before_run")
            self.load_or_resume()
            metrics = loop.run()
            self.call_hook("after_run")
        return dict(metrics)

    def _need_method(self, name: str, deed: str) -> None:
        kind = type(self.model).__name__
        demand(
            hasattr(self.model, name),
            f"{kind} has no {name}(). If you want to {deed} it, derive the model from trainwright.model.BaseModel, "
            "which has it, and return losses for mode='loss' and predictions for mode='predict' from forward().",
        )

    def _loop(self, name: str) -> Any:
        if name not in self._loops and self._specs.get(f"{name}_cfg") is not None:
            cfg, loader = self._specs[f"{name}_cfg"], self._specs[f"{name}_dataloader"]
            parts = (f"{name}_cfg", f"{name}_dataloader", f"{name}_evaluator")
            with bringup.scoped(self), placed(self.cfg, {part: self._specs.get(part) for part in parts}):
                if name == "train":
                    self._loops[name] = builders.build_train_loop(self, cfg, loader)
                else:
                    evaluator = self._specs[f"{name}_evaluator"]
                    self._loops[name] = builders.build_eval_loop(self, name, cfg, loader, evaluator)
                if self.fast_dev_run:
                    fast_dev.shorten(self._loops[name], self.fast_dev_run)
        follow_counters(self._loops.get("train"), self.ctx.clock)
        return self._loops.get(name)

    @property
    def train_loop(self) -> Any:
        """The training loop, built when first asked for; None when there is none."""
        return self._loop("train")

    @property
    def val_loop(self) -> Any:
        """The validation loop, built when first asked for; None when there is none."""
        return self._loop("val")

    @property
    def test_loop(self) -> Any:
        """The test loop, built when first asked for; None when there is none."""
        return self._loop("test")


def _as_config(cfg: Any) -> Config:
    if isinstance(cfg, Config):
        return copy.deepcopy(cfg)
    if isinstance(cfg, dict):
        return Config(dict(dict.items(cfg)))
    return Config({} if cfg is None else cfg)


def _imported(value: Any) -> Any:
    return value.build() if isinstance(value, LazyObject) else value


def _private_copy(value: Any) -> Any:
    """A copy of configs, so that the caller's are never changed; built objects stay the same objects."""
    if isinstance(value, dict):
        return type(value)({key: _private_copy(item) for key, item in dict.items(value)})
    if isinstance(value, list):
        return [_private_copy(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


FlexibleRunner = Runner  # MMEngine's name for the one that has strategies
