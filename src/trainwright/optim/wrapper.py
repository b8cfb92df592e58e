"""One update of the parameters: backward, accumulation, clipping, step."""

from __future__ import annotations

import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from trainwright.base.errors import ConfigError, ConfigTypeError, RuleError, RuleTypeError
from trainwright.base.logs import print_log
from trainwright.base.text import did_you_mean
from trainwright.optim import direct
from trainwright.optim.forms import choose_form, in_own_form
from trainwright.registry import OPTIM_WRAPPERS
from trainwright.state import MessageHub

NOTHING: AbstractContextManager[None] = nullcontext()  # shared: it holds no state, and the hot path makes no object
_UPDATE_METHODS = ("backward", "scale_loss", "should_update", "step", "zero_grad")
_CLIP_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "norm": torch.nn.utils.clip_grad_norm_,
    "value": torch.nn.utils.clip_grad_value_,
}


class BaseOptimWrapper(ABC):
    """What the engine asks of anything that updates parameters; :class:`OptimWrapper` does it by a torch optimizer."""

    _is_plain = False
    _takes: type = Optimizer
    _unwatch: Callable[[], None]
    _step_watchers: Mapping[object, Callable[[], None]] = MappingProxyType({})  # replaced, never changed

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, self._takes):
            raise ConfigTypeError(
                f"optimizer must be a torch.optim.Optimizer, got {optimizer!r} of type {type(optimizer).__name__}; in "
                "a config write optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1))"
            )
        self.optimizer = optimizer
        # With several groups, a group of no parameters that is scheduled with the others and shows the base value.
        self.base_param_settings: dict[str, Any] | None = None
        if len(optimizer.param_groups) > 1:
            self.base_param_settings = {"params": [], **optimizer.defaults}

    @abstractmethod
    def update_params(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Use one loss: gradients always, parameters when an accumulation window is full."""

    @abstractmethod
    def backward(self, loss: Tensor, **kwargs: Any) -> None: ...

    @abstractmethod
    def step(self, **kwargs: Any) -> None: ...

    @abstractmethod
    def zero_grad(self, **kwargs: Any) -> None: ...

    def before_step(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have ``callback()`` called right before each :meth:`step`: the gradients of an update are complete then, not
        clipped yet, and still multiplied by the loss scale. Returns what takes it out again.

        Several are called in the order in which they came. Nothing is paid while there is none.
        """
        if not self._step_watchers:
            # Calls find the instance's own entry first, so that a subclass's step() is watched as well, once, whether
            # it calls super().step() or not.
            own, inner, was_plain = vars(self).get("step"), self.step, self._is_plain
            self._unwatch = lambda: self._restore_step(own, was_plain)
            self._is_plain = False  # update_params has step() written out for the plain case

            def step(**kwargs: Any) -> None:
                for watcher in self._step_watchers.values():
                    watcher()
                inner(**kwargs)

            self.step = step  # type: ignore[method-assign]
        key = object()
        self._step_watchers = {**self._step_watchers, key: callback}

        def remove() -> None:
            if key in self._step_watchers:
                self._step_watchers = {k: other for k, other in self._step_watchers.items() if k is not key}
                if not self._step_watchers:
                    self._unwatch()

        return remove

    def _restore_step(self, own: Callable[..., None] | None, was_plain: bool) -> None:
        if own is None:
            del self.step
        else:
            self.step = own  # type: ignore[method-assign]
        self._is_plain = was_plain

    def skip_loss(self) -> None:  # noqa: B027 - one that counts no losses has nothing to do
        """A batch is left out of training: nothing is updated by it."""

    def loss_scale_tensor(self) -> Tensor | None:
        """What the gradients held are multiplied by, on its device and unread; None for 1. It changes in place."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's own layout, with ``base_param_settings`` beside it where there are several groups."""
        state = self.optimizer.state_dict()
        if self.base_param_settings is not None:
            state["base_param_settings"] = dict(self.base_param_settings)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` or a plain optimizer's returned; the argument is left as it is."""
        state = dict(state_dict)
        base = state.pop("base_param_settings", None)
        self.optimizer.load_state_dict(in_own_form(self.optimizer, state))
        if base is not None:
            self.base_param_settings = dict(base)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups, and the base settings as a last one where there are several."""
        groups: list[dict[str, Any]] = self.optimizer.param_groups
        return groups if self.base_param_settings is None else [*groups, self.base_param_settings]

    @property
    def defaults(self) -> dict[str, Any]:
        return self.optimizer.defaults

    def get_lr(self) -> dict[str, list[Any]]:
        """``{"lr": [one a group]}``, and ``"base_lr"`` before it where there are several groups."""
        lr = {"lr": [group["lr"] for group in self.optimizer.param_groups]}
        if self.base_param_settings is None:
            return lr
        return {"base_lr": [self.base_param_settings["lr"]], **lr}

    def get_momentum(self) -> dict[str, list[Any]]:
        """``{"momentum": [one a group]}``: momentum, or the first beta, or 0 where the optimizer has neither."""
        found: list[Any] = []
        for group in self.optimizer.param_groups:
            if "momentum" in group:
                found.append(group["momentum"])
            else:
                found.append(group["betas"][0] if "betas" in group else 0)
        return {"momentum": found}


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(BaseOptimWrapper):
    """Updates parameters in full precision, with gradient accumulation and clipping.

    ``accumulative_counts``: losses a step. Each loss is divided by the number of losses that really share its step, so
    the last window of a run counts in full although it is short.

    ``clip_grad``: ``dict(max_norm=...)``, or ``dict(type="value", clip_value=...)``; the other keys go to
    ``torch.nn.utils.clip_grad_norm_`` or ``clip_grad_value_``.

    ``fused``: 'auto' takes the fused form of the optimizer's step where torch has one for the parameters at hand, else
    the foreach form; None, the default, leaves it to torch. True and False: see :func:`choose_form`.

    A strategy supplies what depends on where parameters lie. ``grad_sync(on)`` returns a context manager and is asked
    in :meth:`optim_context`, only while accumulating; without it the model's own ``no_sync()`` is used, if it has one.
    ``exchange_grads(params)`` makes gradients of a window whose last loss is left out the same on all ranks.
    ``held_grads()`` gives the gradients of the open window that are not in ``grad`` of the parameters.
    ``clip_grads(params, type=..., **options)`` clips and returns the norm. ``on_grad_norm(norm)`` receives that norm as
    a device tensor, and nothing is read by the host; without it the norm goes to the current message hub.
    """

    on_grad_norm: Callable[[Tensor], None] | None = None
    exchange_grads: Callable[[list[nn.Parameter]], None] | None = None
    held_grads: Callable[[], list[Tensor]] | None = None

    def __init__(
        self,
        optimizer: Optimizer,
        accumulative_counts: int = 1,
        clip_grad: dict[str, Any] | None = None,
        *,
        grad_sync: Callable[[bool], AbstractContextManager[Any]] | None = None,
        clip_grads: Callable[..., Tensor | None] | None = None,
        fused: bool | str | None = None,
    ) -> None:
        super().__init__(optimizer)
        choose_form(optimizer, fused)
        if not isinstance(accumulative_counts, int) or isinstance(accumulative_counts, bool) or accumulative_counts < 1:
            raise RuleError(
                f"accumulative_counts must be a whole number of at least 1, got {accumulative_counts!r}; 1 updates the "
                "parameters in every iteration"
            )
        self._accumulative_counts = accumulative_counts
        self.grad_sync = grad_sync
        self.clip_grads = clip_grads
        self._clip_type, options = checked_clip(clip_grad)
        self.clip_grad_kwargs: dict[str, Any] | None = options or None
        self.clip_func = _CLIP_FUNCTIONS[self._clip_type]
        self.grad_name = f"grad_{self._clip_type}"
        self._inner_count = 0
        self._max_counts = self._remainder_counts = -1  # the latter: how many losses the last window has, 0 for all
        own = all(getattr(type(self), name) is getattr(OptimWrapper, name) for name in _UPDATE_METHODS)
        self._is_plain = own and accumulative_counts == 1 and not self.clip_grad_kwargs
        # True: there is no need to ask optim_context() for a context, it has none to give.
        self._has_own_context = type(self).optim_context is not OptimWrapper.optim_context
        self.enters_nothing = accumulative_counts == 1 and not self._has_own_context
        self._first_count = 0  # earliest loss whose gradient is held: a resumed window may have lost its beginning

    def update_params(
        self,
        loss: Tensor,
        step_kwargs: dict[str, Any] | None = None,
        zero_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Backward of the scaled loss; at the end of a window also step and zero_grad."""
        if self._is_plain and step_kwargs is None and zero_kwargs is None and not self._is_replaced():
            # backward(), step() and zero_grad() of this class, written out: their calls would be all they cost.
            loss.backward()
            self._inner_count += 1
            direct.step(self.optimizer)
            direct.zero_grad(self.optimizer)
            return
        self.backward(self.scale_loss(loss))
        if self.should_update():
            self.step(**(step_kwargs or {}))
            self.zero_grad(**(zero_kwargs or {}))

    def _is_replaced(self) -> bool:
        """Whether a step of the update was put into this object, as tests do."""
        own = self.__dict__
        return "step" in own or "backward" in own or "zero_grad" in own

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Add the gradients of an already scaled loss, and count it."""
        loss.backward(**kwargs)
        self._inner_count += 1

    def skip_loss(self) -> None:
        """Count a loss that is left out, as one whose gradient is zero: a window that ends with it steps on the
        gradients of its other losses, as they are; without any there is no step."""
        self._inner_count += 1
        if not self.should_update():
            return
        params = [p for group in self.optimizer.param_groups for p in group["params"]]
        if self.exchange_grads is not None and self._accumulative_counts > 1:
            self.exchange_grads(params)
        if any(p.grad is not None for p in params):
            self.step()
            self.zero_grad()

    def zero_grad(self, **kwargs: Any) -> None:
        """Drop the gradients; ``kwargs`` go to the optimizer's own ``zero_grad``."""
        if kwargs:
            self.optimizer.zero_grad(**kwargs)
        else:
            direct.zero_grad(self.optimizer)

    def step(self, **kwargs: Any) -> None:
        """Clip, where asked for, and step the optimizer."""
        if self.clip_grad_kwargs:
            self._clip_grad()
        if kwargs:
            self.optimizer.step(**kwargs)
        else:
            direct.step(self.optimizer)

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Context for the forward pass: no gradient is exchanged between ranks before the last loss of a window."""
        if self._accumulative_counts == 1:
            return NOTHING
        if self.grad_sync is not None:
            return self.grad_sync(self.should_sync())
        no_sync = None if self.should_sync() else getattr(model, "no_sync", None)
        return NOTHING if no_sync is None else no_sync()

    def _clip_grad(self) -> None:
        params = [
            p
            for group in self.optimizer.param_groups
            for p in group["params"]
            if p.requires_grad and p.grad is not None
        ]
        if not params:
            return
        options = self.clip_grad_kwargs or {}
        if self.clip_grads is None:
            norm = self.clip_func(params, **options)
        else:
            norm = self.clip_grads(params, type=self._clip_type, **options)
        if norm is None:
            return
        if self.on_grad_norm is not None:
            self.on_grad_norm(norm)
        else:
            self.message_hub.update_scalar(f"train/{self.grad_name}", norm)

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Say how many losses came before and how many there will be, so that the last window is known to be short.

        ``init_counts`` > 0 after a resume. When the count stops inside a window and no gradient is held, because none
        was saved, the losses left in that window share its step alone.
        """
        self._max_counts = max_counts
        self._remainder_counts = max_counts % self._accumulative_counts
        self._count_from(init_counts)
        if self._accumulative_counts > 1:
            syncs = self.grad_sync is not None or hasattr(model, "no_sync")
            self.enters_nothing = not (syncs or self._has_own_context)
        if self._accumulative_counts > 1 and any(isinstance(module, _BatchNorm) for module in model.modules()):
            print_log(
                f"Gradient accumulative may differ from one large batch: with batch norm and accumulative_counts="
                f"{self._accumulative_counts} statistics still come from the single batches",
                logger="current",
            )

    def accumulation_state(self) -> dict[str, int]:
        """Where the accumulation stands, as plain integers for a checkpoint."""
        state = {"inner_count": self._inner_count}
        return {**state, "first_count": self._first_count} if self._first_count else state

    def load_accumulation_state(self, state: dict[str, int]) -> None:
        """Go on counting where :meth:`accumulation_state` stood. Call it after :meth:`initialize_count_status`."""
        self._count_from(state["inner_count"])
        self._first_count = state.get("first_count", self._first_count)

    def _count_from(self, count: int) -> None:
        self._inner_count = count
        self._first_count = 0
        lost = self._losses_before()
        if lost and not self.gradients_held():
            self._first_count = count
            print_log(
                f"Resumed iteration number {count} is inside an accumulation window, and the gradients of the {lost} "
                f"loss(es) before it were not saved: the next step averages the {self._window_length()} that follow. "
                "To lose none, save at a multiple of accumulative_counts iterations",
                logger="current",
                level=logging.WARNING,
            )

    def should_update(self) -> bool:
        """True when the losses so far fill a window, or are all there will be."""
        counts = self._accumulative_counts
        return counts == 1 or self._inner_count % counts == 0 or self._inner_count == self._max_counts

    def should_sync(self) -> bool:
        """True when the next loss ends a window."""
        counts = self._accumulative_counts
        return counts == 1 or (self._inner_count + 1) % counts == 0 or self._inner_count + 1 == self._max_counts

    def scale_loss(self, loss: Tensor) -> Tensor:
        """Divide a loss by the number of losses that share its step."""
        count, counts = self._inner_count, self._accumulative_counts
        if counts == 1:
            return loss
        start = count - count % counts
        if start >= self._first_count and (start + counts <= self._max_counts or self._max_counts < 0):
            return loss / counts  # a whole window, which nearly all are
        return loss / self._window_length()

    def _losses_before(self) -> int:
        """Losses already in the running window."""
        count = self._inner_count
        start = count - count % self._accumulative_counts
        if count >= self._max_counts:  # the last loss of a run ends its window, wherever that falls
            start = max(start, self._max_counts)
        return count - max(start, self._first_count)

    def _window_length(self) -> int:
        count, counts = self._inner_count, self._accumulative_counts
        end = count - count % counts + counts
        if count < self._max_counts:
            end = min(end, self._max_counts)
        return self._losses_before() + end - count

    @property
    def inner_count(self) -> int:
        """Losses used so far."""
        return self._inner_count

    @property
    def message_hub(self) -> MessageHub:
        """The hub of the run that is open: the gradient norm goes there, as ``train/grad_norm``."""
        return MessageHub.get_current_instance()

    def gradients_held(self) -> list[Tensor]:
        """The gradients that this process holds now."""
        grads = [p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        return grads if self.held_grads is None else [*grads, *self.held_grads()]

    def gradient_scale(self) -> float:
        """What the gradients held are multiplied by, besides the share of a loss in its window."""
        return 1.0

    def __repr__(self) -> str:
        return (
            f"Type: {type(self).__name__}\n_accumulative_counts: {self._accumulative_counts}\n"
            f"optimizer: \n{self.optimizer!r}\n"
        )


def checked_clip(clip_grad: dict[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """Clip type, and the options of its function; refuses what the function would refuse at the first step."""
    if clip_grad is None:
        return "norm", {}
    if not isinstance(clip_grad, dict) or not clip_grad:
        raise RuleTypeError(
            f"If `clip_grad` is not None it must be a dict with settings, got {clip_grad!r}; for instance "
            "dict(max_norm=1.0)"
        )
    options = dict(clip_grad)
    clip_type = options.pop("type", "norm")
    if clip_type not in _CLIP_FUNCTIONS:
        raise ConfigError(
            f'type of clip_grad should be "norm" or "value" but got {clip_type!r}.'
            f"{did_you_mean(str(clip_type), _CLIP_FUNCTIONS)}"
        )
    first, *rest = list(inspect.signature(_CLIP_FUNCTIONS[clip_type]).parameters)[1:]
    for name in options:
        if name not in (first, *rest):
            raise ConfigError(
                f"clip_grad has no setting {name!r} when type is {clip_type!r}: it takes {', '.join([first, *rest])}."
                f"{did_you_mean(name, [first, *rest])}"
            )
    limit = options.get(first)
    if not isinstance(limit, (int, float)) or isinstance(limit, bool) or not limit > 0:
        raise RuleError(
            f"clip_grad of type {clip_type!r} needs {first}, a number above 0, got {limit!r}; for instance "
            f"dict(type={clip_type!r}, {first}=1.0)"
        )
    return clip_type, options
