"""Keeps an average of the model's weights, and validates, tests and saves with it."""

from __future__ import annotations

from logging import WARNING
from typing import Any

from torch import nn

from trainwright.base.errors import CheckpointError, ConfigError, ConfigTypeError, RuleError
from trainwright.base.lazy import LazyObject
from trainwright.base.logs import print_log
from trainwright.checkpoint import load_weights
from trainwright.dist import gathered
from trainwright.engine import NEVER, Hook
from trainwright.engine.by_hand import is_run
from trainwright.model import BaseAveragedModel, is_model_wrapper
from trainwright.registry import HOOKS, MODELS, argument_errors

_PREFIX = "module."


@HOOKS.register_module()
class EMAHook(Hook):
    """Averages the weights after each iteration, in a model of `ema_type` that gets `kwargs` (API of mmengine's hook).

    Validation and test run with the average. A checkpoint holds it as ``state_dict``, ready to use, and under
    ``ema_state_dict`` the weights that are trained, with the count of updates; a resume puts both back in place.
    Before iteration `begin_iter`, or epoch `begin_epoch`, both from 1, the average is the model itself.
    `strict_load`: a checkpoint must have every name of the average, and no other.
    """

    priority = "NORMAL"
    ema_model: BaseAveragedModel
    src_model: nn.Module

    def __init__(
        self,
        ema_type: str = "ExponentialMovingAverage",
        strict_load: bool = False,
        begin_iter: int = 0,
        begin_epoch: int = 0,
        **kwargs: Any,
    ) -> None:
        for name, value in (("begin_iter", begin_iter), ("begin_epoch", begin_epoch)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise RuleError(
                    # Slip and all, the words that tests written for MMEngine look for.
                    f"EMAHook: `{name}` must larger than or equal to 0, and be a whole number, but got {value!r}."
                )
        if begin_iter and begin_epoch:
            raise RuleError(
                "EMAHook: `begin_iter` and `begin_epoch` should not be both set, but are "
                f"{begin_iter} and {begin_epoch}: set the one in whose unit you count."
            )
        self.strict_load = strict_load
        self.ema_cfg = {"type": ema_type, **kwargs}
        _check_arguments(ema_type, kwargs)
        self.begin_iter = begin_iter
        self.begin_epoch = begin_epoch
        self.enabled_by_epoch = begin_epoch > 0
        self._is_swapped = False
        self._is_behind = False

    def before_run(self, runner: Any) -> None:
        """Copy the model, unless it was done before: a test after a training is of what was trained."""
        if is_run(runner) and sum(isinstance(hook, EMAHook) for hook in runner.hooks) > 1:
            raise ConfigError("custom_hooks has more than one EMAHook: the model can stand for one average only.")
        model = runner.model
        if is_model_wrapper(model):
            model = model.module
        if getattr(self, "src_model", None) is not model:
            self.src_model = model
            self.ema_model = MODELS.build(self.ema_cfg, default_args={"model": model})
            self._is_swapped = self._is_behind = False
        self._swap_out()  # a run that was broken off

    def before_train(self, runner: Any) -> None:
        """Check that the average will begin."""
        name, unit = ("begin_epoch", "max_epochs") if self.enabled_by_epoch else ("begin_iter", "max_iters")
        begin, end = getattr(self, name), getattr(runner, unit)
        if end is not None and begin > end:
            raise RuleError(
                f"EMAHook: self.{name} should be smaller than or equal to runner.{unit}: {end}, but is {begin}, so "
                f"there would be no average. Lower {name}, or train longer."
            )
        self._catch_up()

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Take the weights into the average."""
        if self._ema_started(runner):
            self.ema_model.update_parameters(self.src_model)

    def next_train_iter(self, runner: Any) -> int | None:
        """Every iteration once the average has begun; until then nothing is done, see ``_catch_up``."""
        if self._ema_started(runner):
            return None
        return NEVER if self.enabled_by_epoch else self.begin_iter - 1

    def before_val_epoch(self, runner: Any) -> None:
        """Put the average into the model."""
        self._swap_in()

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Put the weights that are trained back."""
        self._swap_out()

    def after_val(self, runner: Any) -> None:
        """The same for a validation that was stopped, whose epoch does not end."""
        self._swap_out()

    def before_test_epoch(self, runner: Any) -> None:
        """Put the average into the model."""
        self._swap_in()

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Put the weights that are trained back."""
        self._swap_out()

    def after_test(self, runner: Any) -> None:
        """The same for a test that was stopped."""
        self._swap_out()

    def on_exception(self, runner: Any, phase: str, error: BaseException) -> None:
        """The same for an evaluation that failed."""
        self._swap_out()

    def on_train_closed(self, runner: Any) -> None:
        """The same for whatever else broke the training off."""
        self._swap_out()

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Add ``ema_state_dict``, and let it and ``state_dict`` change places."""
        self._catch_up()
        self.ema_model.copy_buffers(self.src_model)  # it is validated with those of the model, as they are now
        average = self.ema_model.state_dict()
        for name, value in average.items():
            average[name] = gathered(value)
        checkpoint["ema_state_dict"] = average
        if not self._is_swapped:  # inside an evaluation they have changed places already
            self._swap_ema_state_dict(checkpoint)

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Resuming: let the two change places again, and load the average. Otherwise the average is what is loaded."""
        if not hasattr(self, "ema_model"):  # loaded by hand, before there was a run
            self.before_run(runner)
        self._swap_out()
        if "ema_state_dict" in checkpoint and runner._resume:
            self._swap_ema_state_dict(checkpoint)
            self._load(checkpoint["ema_state_dict"])
            return
        if runner._resume:
            print_log(
                "the checkpoint was saved without EMAHook and has no ema_state_dict: the average begins with its "
                "weights",
                "current",
                WARNING,
            )
        if self.strict_load or not is_run(runner):
            load_weights(self.ema_model.module, checkpoint, strict=self.strict_load)
        self._is_behind = is_run(runner)  # a run loads the same into the model

    def _load(self, state: dict[str, Any]) -> None:
        load_weights(self.ema_model, {"state_dict": state}, self.strict_load, revise_keys=())
        self._is_behind = False

    def _catch_up(self) -> None:
        """Until the average begins it is the model; it is copied when somebody looks, and not in each iteration."""
        if not self._is_swapped and (self._is_behind or self.ema_model.n_updates == 0):
            self.ema_model.copy_from(self.src_model)
            self._is_behind = False

    def _swap_in(self) -> None:
        self._catch_up()
        if not self._is_swapped:
            self._swap_ema_parameters()
            self._is_swapped = True

    def _swap_out(self) -> None:
        if self._is_swapped:
            self._swap_ema_parameters()
            self._is_swapped = False

    def _swap_ema_parameters(self) -> None:
        """Exchange the weights of the model and of the average."""
        self.ema_model.swap_with(self.src_model)

    @staticmethod
    def _swap_ema_state_dict(checkpoint: dict[str, Any]) -> None:
        """Let the weights of the model and the average change places in a checkpoint."""
        weights, average = checkpoint["state_dict"], checkpoint["ema_state_dict"]
        own = [name for name in average if name.startswith(_PREFIX)]
        lacking = [name for name in own if name[len(_PREFIX) :] not in weights]
        if lacking:
            raise CheckpointError(
                f"state_dict and ema_state_dict of the checkpoint are of different models: {lacking[0]!r} of the "
                f"average has no {lacking[0][len(_PREFIX) :]!r} beside it ({len(lacking)} of {len(own)} names). Was "
                "one of them edited? Without ema_state_dict the average begins with the weights of state_dict."
            )
        for name in own:
            plain = name[len(_PREFIX) :]
            weights[plain], average[name] = average[name], weights[plain]

    def _ema_started(self, runner: Any) -> bool:
        """Whether the running iteration or epoch counts."""
        if self.enabled_by_epoch:
            return bool(runner.epoch + 1 >= self.begin_epoch)
        return bool(runner.iter + 1 >= self.begin_iter)


def _check_arguments(ema_type: Any, kwargs: dict[str, Any]) -> None:
    kind = MODELS.resolve(ema_type) if isinstance(ema_type, str) else ema_type
    if isinstance(kind, LazyObject):  # of a config in the import syntax
        kind = kind.build()
    if not (isinstance(kind, type) and issubclass(kind, BaseAveragedModel)):
        raise ConfigTypeError(
            f"EMAHook ema_type must name a class of averaged models, derived from BaseAveragedModel, but got "
            f"{ema_type!r}: ExponentialMovingAverage, MomentumAnnealingEMA, StochasticWeightAverage or one of yours."
        )
    wrong = argument_errors(kind, kwargs, injected=["model"])
    if wrong:
        raise ConfigTypeError(f"EMAHook hands its further arguments on to {kind.__name__}: {' '.join(wrong)}")
