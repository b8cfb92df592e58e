"""Runner's builders: parts from configs; a built object passes through."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from trainwright import data
from trainwright.base.errors import ConfigTypeError, RuleTypeError, demand
from trainwright.base.logs import MMLogger
from trainwright.optim import BaseOptimWrapper
from trainwright.registry import STRATEGIES
from trainwright.runner import builders
from trainwright.runner.parts import RunnerParts
from trainwright.runner.spec import default_strategy
from trainwright.runner.strategy_choice import built_from_parts, named_by_wrapper, wrapper_settings
from trainwright.state import MessageHub
from trainwright.strategies import BaseStrategy


class BuildMixin(RunnerParts):
    """Building parts; a built object passes through."""

    build_evaluator = staticmethod(builders.build_evaluator)
    build_log_processor = staticmethod(builders.build_log_processor)

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader[Any] | dict[str, Any],
        seed: int | None = None,
        diff_rank_seed: bool = False,
        keyed: bool | None = None,
    ) -> Any:
        """A loader from ``dict(dataset=..., sampler=..., batch_size=..., num_workers=..., ...)``.

        See :func:`trainwright.data.build_dataloader` for the keys and for ``keyed``.
        """
        return data.build_dataloader(dataloader, seed, diff_rank_seed=diff_rank_seed, keyed=keyed)

    def build_strategy(
        self,
        strategy: BaseStrategy | dict[str, Any] | None = None,
        launcher: str = "none",
        randomness: dict[str, Any] | None = None,
        env_cfg: dict[str, Any] | None = None,
        experiment_name: str | None = None,
        log_level: int | str | None = None,
    ) -> BaseStrategy:
        """A strategy from its config; without one SingleDeviceStrategy, or with a launcher DDPStrategy."""
        if isinstance(strategy, BaseStrategy):
            return built_from_parts(strategy)
        if strategy is not None and not isinstance(strategy, dict):
            raise RuleTypeError(f"strategy should be a BaseStrategy, a dict or None, but got {strategy!r}.")
        args = {
            "work_dir": self._specs["work_dir"],
            "experiment_name": experiment_name,
            "env_kwargs": {**(env_cfg or {}), "launcher": launcher, "randomness": randomness},
            "log_kwargs": {"log_level": "INFO" if log_level is None else log_level},
            "auto_scale_lr": self._specs["auto_scale_lr"],
        }
        cfg = {"type": named_by_wrapper(self.cfg, default_strategy({"launcher": launcher})), **(strategy or {})}
        cfg = {**wrapper_settings(self.cfg, cfg["type"]), **cfg}
        return built_from_parts(STRATEGIES.build(cfg, default_args=args))

    def build_model(self, model: nn.Module | dict[str, Any]) -> nn.Module:
        """A model from its config."""
        return self.strategy.build_model(model)

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Move ``model`` to its device and wrap it as the strategy does; one process needs no wrapper."""
        if model_wrapper_cfg is not None and not self.strategy.distributed:
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
        demand(
            isinstance(self.optim_wrapper, BaseOptimWrapper),
            "build_optim_wrapper should be called before build_param_scheduler, and its wrapper set as "
            f"runner.optim_wrapper, which is {self.optim_wrapper!r}.",
        )
        self._tell_length()
        return self.strategy.build_param_scheduler(scheduler, self.optim_wrapper)

    def _tell_length(self) -> None:
        """Tell the strategy how long training is, which schedules are made for."""
        loop, clock = self._loop("train"), self.ctx.clock
        self.strategy.dispatch_kwargs.update(
            epoch_length=clock.epoch_length,
            max_epochs=clock.max_epochs,
            max_iters=clock.max_iters,
            train_micro_batch_size_per_gpu=getattr(getattr(loop, "dataloader", None), "batch_size", None),
        )

    def build_train_loop(self, loop: Any) -> Any:
        """The training loop of a ``train_cfg``, with the runner's train_dataloader."""
        return builders.build_train_loop(self, loop, self._specs["train_dataloader"])

    def build_val_loop(self, loop: Any) -> Any:
        """The validation loop of a ``val_cfg``, with the runner's loader and evaluator."""
        return builders.build_eval_loop(self, "val", loop, self._specs["val_dataloader"], self._specs["val_evaluator"])

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
        if message_hub is not None and not isinstance(message_hub, dict):
            raise ConfigTypeError(f"message_hub should be dict(name=...) or None, but got {message_hub!r}.")
        name = (message_hub or {}).get("name", self.strategy.experiment_name)
        return self.message_hub if name == self.message_hub.instance_name else MessageHub.get_instance(name)

    def build_visualizer(self, visualizer: Any = None) -> Any:
        """A visualizer from its config."""
        return builders.build_visualizer(visualizer, self.strategy.experiment_name, self.strategy.log_dir)

    def scale_lr(self, optim_wrapper: Any, auto_scale_lr: dict[str, Any] | None = None) -> None:
        """Scale the learning rates of ``optim_wrapper`` by real over base batch size, when enabled.

        Call it after the wrapper was built and before the schedulers are. None scales nothing.
        """
        if not auto_scale_lr or not auto_scale_lr.get("enable", False):
            return
        strategy = self.strategy
        strategy._auto_scale_lr, strategy.optim_wrapper = auto_scale_lr, optim_wrapper
        loader = self._loop("train").dataloader
        strategy.dispatch_kwargs.setdefault("train_micro_batch_size_per_gpu", loader.batch_size)
        strategy.scale_lr()
