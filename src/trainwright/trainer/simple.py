"""A trainer of one model, one optimizer, one loader and one loss (API of detectron2's SimpleTrainer)."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Any

import torch
from torch import nn

from trainwright.base.errors import ConfigError, ConfigTypeError, EvalModeError
from trainwright.engine.loops.losses import with_own_containers
from trainwright.engine.passes import without_streams
from trainwright.optim import OptimWrapper, OptimWrapperDict
from trainwright.state import Completing
from trainwright.strategies import AdoptedStrategy, BaseStrategy
from trainwright.strategies.adopt import wrapped
from trainwright.strategies.apart import own_buffers, put_buffers
from trainwright.strategies.warm_up import leaving_nothing
from trainwright.trainer.base import TrainerBase, training_under_way
from trainwright.trainer.feed import EndlessBatches, checked_resume
from trainwright.trainer.loss_check import not_finite
from trainwright.trainer.loss_writing import PendingLosses, put_losses

Losses = Mapping[str, torch.Tensor]
_NONE_YET = object()


class SimpleTrainer(TrainerBase):
    """Each step: a batch, ``model(batch)``, the backward, the optimizer's step. For anything else derive from
    TrainerBase and write a ``run_step``, which is a few lines.

    The model returns a loss, or a dict of losses, whose sum counts. A loader that ends is begun again. Losses are put
    into the event storage and read when a writer asks for them: one that is not finite is a FloatingPointError then, at
    the latest before a checkpoint is saved and at the end of training.

    ``optimizer`` may be an OptimWrapper, for accumulated or clipped gradients. ``strategy`` places model and optimizer
    on several ranks, for instance ``DDPStrategy()``; a model in a wrapper of torch's own does without.

    ``gather_metric_period``: metrics are put, and gathered from all ranks, every so many iterations.
    ``zero_grad_before_forward``: gradients are dropped before the forward, which takes less memory; without it between
    forward and backward. ``async_write_metrics``: training does not wait for metrics to be gathered and put.
    ``resume_data``: how a resume finds its place in a loader that cannot jump to one, see :class:`EndlessBatches`.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Any,
        optimizer: Any,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
        async_write_metrics: bool = False,
        *,
        strategy: BaseStrategy | None = None,
        resume_data: str = "exact",
    ) -> None:
        super().__init__()
        model.train()
        self.resume_data = checked_resume(resume_data)
        self.data_loader = data_loader
        if gather_metric_period < 1:
            raise ConfigError(f"gather_metric_period must be at least 1 iteration, but got {gather_metric_period!r}.")
        self.gather_metric_period = gather_metric_period
        self.zero_grad_before_forward = zero_grad_before_forward
        self.async_write_metrics = async_write_metrics
        self.strategy: Any
        if strategy is None:
            self.strategy = AdoptedStrategy(model, self._wrap(optimizer))
        elif not isinstance(strategy, BaseStrategy):
            raise ConfigTypeError(
                f"strategy must be a strategy object, such as DDPStrategy() of trainwright.strategies, or None, but "
                f"got {strategy!r} of type {type(strategy).__name__}."
            )
        else:
            self.strategy = strategy
            strategy.adopt(model, optimizer, **self._wrapper_settings(optimizer))
        self.model: nn.Module = self.strategy.model
        self.optim_wrapper: OptimWrapper = self.strategy.optim_wrapper
        if isinstance(self.optim_wrapper, OptimWrapperDict):
            raise ConfigError(
                f"{type(self).__name__} has one optimizer, but got {', '.join(self.optim_wrapper)}: derive from "
                "TrainerBase and write run_step(), which says when each of them is used."
            )
        self._data_loader_iter_obj: Any = None
        self._has_warmed_up = False
        self._in_step = False  # a batch was taken, and its iteration is not finished
        self._executor: ThreadPoolExecutor | None = None
        self._writing: list[Future[None]] = []
        self._gathering: PendingLosses | None = None
        self._overrides: set[str] | None = None
        self._begun: object = _NONE_YET  # the context of the training whose steps these are

    def _wrap(self, optimizer: Any) -> Any:
        return wrapped(optimizer)

    def _wrapper_settings(self, optimizer: Any) -> dict[str, Any]:
        return {}

    @property
    def optimizer(self) -> Any:
        """The torch optimizer."""
        return self.optim_wrapper.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        self.optim_wrapper.optimizer = optimizer

    # data ---------------------------------------------------------------------------------------------------------

    @property
    def _data_loader_iter(self) -> Any:
        # Made when it is first used, so that workers start late and a loader can be replaced before.
        if self._data_loader_iter_obj is None:
            self._data_loader_iter_obj = EndlessBatches(self.data_loader, self.resume_data)
        return self._data_loader_iter_obj

    def reset_data_loader(self, data_loader_builder: Callable[[], Any]) -> None:
        """Let go of the loader, then begin anew with the one that ``data_loader_builder()`` returns."""
        self._data_loader_iter_obj = self.data_loader = None
        self.data_loader = data_loader_builder()

    # a step -------------------------------------------------------------------------------------------------------

    def run_step(self) -> None:
        """One iteration."""
        if not self.model.training:
            raise EvalModeError(
                f"[{type(self).__name__}] model was changed to eval mode! Call model.train() at the end of what put it "
                "there; to train a part in eval mode, override train() of that part."
            )
        if self._begun is not training_under_way():
            self._begin_steps_of_another()
        self._clock.completing = Completing.NOTHING
        began = perf_counter()
        data = next(self._data_loader_iter)
        data_time = perf_counter() - began
        self._in_step = True
        if not self._has_warmed_up:
            self._warm_up(data)
        wrapper = self.optim_wrapper
        begins_window = wrapper.should_update()  # the one before is over
        if begins_window and self.zero_grad_before_forward:
            wrapper.zero_grad()
        if wrapper.enters_nothing:
            found = self.model(data)
        else:
            with wrapper.optim_context(self.model):
                found = self.model(data)
        if isinstance(found, torch.Tensor):
            losses, loss_dict = found, {"total_loss": found}
        else:
            loss_dict = found
            losses = _sum(found)
        overrides = self._overrides if self._overrides is not None else self._look_for_overrides()
        if "_detect_anomaly" in overrides:
            self._detect_anomaly(losses, loss_dict)
        if begins_window and not self.zero_grad_before_forward:
            wrapper.zero_grad()
        wrapper.backward(wrapper.scale_loss(losses))
        self.after_backward()
        self._tell(overrides, losses, loss_dict, data_time)
        if wrapper.should_update():
            wrapper.step()
        self._in_step = False
        self._clock.completing = Completing.ITERATION  # also where another trainer counts the iterations

    def _begin_steps_of_another(self) -> None:
        """The first step of a training that is not this trainer's own: another one makes its steps with this one, or
        ``run_step`` is called by hand."""
        outer = self._stepping
        self.start_iter = self.iter
        if outer is not self:
            self.max_iter = outer.max_iter
        self._take_up(self._own_state())

    def _warm_up(self, data: Any) -> None:
        """Where ``torch.use_deterministic_algorithms`` is on: a step for nothing on the first batch, since DDP sums in
        another order after its first backward, which would not be that of a resumed training."""
        self._has_warmed_up = True
        model = self.model
        if not (
            isinstance(model, nn.parallel.DistributedDataParallel) and torch.are_deterministic_algorithms_enabled()
        ):
            return
        with leaving_nothing(model.module):
            for _ in range(2 if model.static_graph else 1):  # that one settles in two steps
                found = model(with_own_containers(data))
                (found if isinstance(found, torch.Tensor) else _sum(found)).backward()

    def _look_for_overrides(self) -> set[str]:
        names = ("_detect_anomaly", "_write_metrics")
        mine = vars(self)
        self._overrides = {n for n in names if n in mine or getattr(type(self), n) is not getattr(SimpleTrainer, n)}
        return self._overrides

    def _detect_anomaly(self, losses: torch.Tensor, loss_dict: Losses) -> None:
        """Raise FloatingPointError if the loss is not finite. An override is called in every iteration; this method,
        which reads the device, is not: losses are looked at when they are read anyway."""
        if not torch.isfinite(losses).all():
            terms = {name: torch.as_tensor(value).detach().tolist() for name, value in loss_dict.items()}
            raise not_finite(self.iter, terms)

    def _tell(self, overrides: set[str], losses: torch.Tensor, loss_dict: Losses, data_time: float) -> None:
        at = self.iter
        if "_write_metrics" not in overrides:
            if (at + 1) % self.gather_metric_period == 0:
                self._finish_gathering()
                self._gathering = put_losses(loss_dict, data_time, at, "", losses, self.async_write_metrics)
        elif self.async_write_metrics:
            while self._writing and self._writing[0].done():
                self._writing.pop(0).result()  # what went wrong there is raised here
            self._writing.append(self.concurrent_executor.submit(self._write_metrics, loss_dict, data_time, iter=at))
        else:
            self._write_metrics(loss_dict, data_time)

    def _write_metrics(
        self, loss_dict: Losses, data_time: float | None = None, prefix: str = "", iter: int | None = None
    ) -> None:
        """Put losses, their sum as ``PREFIXtotal_loss`` and the time that data took into the event storage, where it is
        time to. The time may be an item of the dict, as in detectron2's first releases. An override is called in every
        iteration; with ``async_write_metrics`` in a thread."""
        at = self.iter if iter is None else iter
        if data_time is None:
            values: dict[str, Any] = dict(loss_dict)
            data_time, loss_dict = float(values.pop("data_time", 0.0)), values
        if (at + 1) % self.gather_metric_period == 0:
            self.write_metrics(loss_dict, data_time, at, prefix)

    @staticmethod
    def write_metrics(loss_dict: Losses, data_time: float, cur_iter: int, prefix: str = "") -> None:
        """As ``_write_metrics``, always. All ranks call this: losses are means over them, data_time is the longest."""
        put_losses(loss_dict, data_time, cur_iter, prefix)

    @property
    def concurrent_executor(self) -> ThreadPoolExecutor:
        """The one thread in which metrics are written with ``async_write_metrics``."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(max_workers=1)
        return self._executor

    def _finish_gathering(self) -> None:
        pending, self._gathering = self._gathering, None
        if pending is not None:
            pending.put()

    def _finish_writing(self) -> None:
        """Wait for all metrics of the iterations so far."""
        self._finish_gathering()
        writing, self._writing = self._writing, []
        for future in writing:
            future.result()

    def _read_last(self) -> None:
        self._finish_writing()
        super()._read_last()

    def _close(self) -> None:
        executor, self._executor, self._gathering, self._writing = self._executor, None, None, []
        if executor is not None:
            executor.shutdown(wait=True)

    # state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """As TrainerBase's, with the ``optimizer`` in torch's layout, and the ``grad_scaler`` where there is one."""
        self._finish_writing()
        state = super().state_dict()
        found = dict(self.strategy.optim_state_dict())
        found.pop("base_param_settings", None)
        scaler = found.pop("loss_scaler", None)
        state["optimizer"] = found
        if scaler is not None:
            state["grad_scaler"] = scaler
        return state

    def _rank_state(self, together: bool) -> dict[str, Any]:
        state = super()._rank_state(together)
        feed = self._data_loader_iter
        if isinstance(feed, EndlessBatches):
            state["loader"] = feed.state_dict(gives_back=self._in_step)
        if self.strategy.window_is_open():
            state["gradients"] = self.strategy.held_gradients()
        if together and (buffers := own_buffers(self.strategy.unwrapped_model)):
            state["buffers"] = buffers
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state; see :meth:`TrainerBase.load_state_dict`."""
        super().load_state_dict(state_dict)
        optimizer = dict(state_dict["optimizer"])
        if state_dict.get("grad_scaler") is not None:
            optimizer["loss_scaler"] = state_dict["grad_scaler"]
        self.strategy.load_optim_state_dict(optimizer)
        self._begun = _NONE_YET  # the next step takes up the rest
        own = self._loaded["own"] if self._loaded else {}
        place = own.get("rank0", own).get("loader")
        if self.data_loader is None or place is None:
            return
        trainer, finished = weakref.proxy(self), self.finished_iters
        self._data_loader_iter_obj = feed = EndlessBatches(self.data_loader, self.resume_data)
        feed.load_state_dict(without_streams(place) if "rank0" in own else place, lambda: trainer.iter == finished)

    def _take_up(self, own: dict[str, Any]) -> None:
        super()._take_up(own)
        strategy = self.strategy
        strategy.drop_gradients()
        if "gradients" in own:
            strategy.put_gradients({name: gradient.clone() for name, gradient in own["gradients"].items()})
        put_buffers(strategy.unwrapped_model, own.get("buffers", {}))
        end = -1 if self.max_iter is None else self.max_iter
        self.optim_wrapper.initialize_count_status(strategy.unwrapped_model, self.start_iter, end)
        self._overrides = None
        self._begun = training_under_way()


def _sum(losses: Losses) -> torch.Tensor:
    if not isinstance(losses, Mapping) or not losses:
        raise ConfigTypeError(
            f"a model that SimpleTrainer trains must return a loss, or a dict of losses, but it returned {losses!r}. "
            "For another kind of model derive from TrainerBase, and write run_step()."
        )
    first, *others = losses.values()
    for loss in others:
        first = first + loss
    return first
