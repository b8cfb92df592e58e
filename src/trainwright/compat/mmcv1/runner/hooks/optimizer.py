"""The optimizer hooks of MMCV 1.x: what is done with the loss of an iteration, in single and in half precision."""

from __future__ import annotations

import logging
from collections.abc import ItemsView, Iterable, Iterator, KeysView, ValuesView
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.utils import clip_grad
from torch.optim import Optimizer

from trainwright.base.errors import ConfigTypeError
from trainwright.compat.mmcv1.errors import LackingError, demand
from trainwright.compat.mmcv1.runner.fp16_utils import wrap_fp16_model
from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS, Hook
from trainwright.optim import direct
from trainwright.optim.amp import step_with_scaler_alone


def _step(optimizer: Any) -> None:
    if isinstance(optimizer, Optimizer):
        direct.step(optimizer)
    else:
        optimizer.step()


def _zero_grad(optimizer: Any) -> None:
    if isinstance(optimizer, Optimizer):
        direct.zero_grad(optimizer)
        return
    if not hasattr(optimizer, "zero_grad"):
        raise ConfigTypeError(
            f"the hook that steps needs one optimizer, got {type(optimizer).__name__}: where there are several or "
            "none the model's train_step does what it wants with them, and optimizer_config is None"
        )
    optimizer.zero_grad()


def _loss_of(runner: Any) -> Tensor:
    try:
        loss: Tensor = runner.outputs["loss"]
    except KeyError:
        raise LackingError(
            f"what train_step returned has no 'loss' for the hook that steps, but {', '.join(map(str, runner.outputs))}"
            ": return it, or leave optimizer_config out and step in train_step"
        ) from None
    return loss


@HOOKS.register_module()
class OptimizerHook(Hook):
    """zero_grad, backward and step after each training iteration.

    ``grad_clip``: arguments of ``torch.nn.utils.clip_grad_norm_`` for all gradients of the model; the norm is logged as
    ``grad_norm``, and stays on its device until the log line is due. ``detect_anomalous_params`` reports, as errors in
    the log, the parameters that the loss does not depend on; it costs time in each iteration.
    """

    def __init__(self, grad_clip: dict[str, Any] | None = None, detect_anomalous_params: bool = False) -> None:
        self.grad_clip = grad_clip
        self.detect_anomalous_params = detect_anomalous_params

    def clip_grads(self, params: Iterable[nn.Parameter]) -> Tensor | None:
        """Clip what has a gradient; returns the norm from before, or None where nothing has one."""
        clipped = [p for p in params if p.requires_grad and p.grad is not None]
        return clip_grad.clip_grad_norm_(clipped, **(self.grad_clip or {})) if clipped else None

    def _clip_and_log(self, runner: Any) -> None:
        if self.grad_clip is None:
            return
        grad_norm = self.clip_grads(runner.model.parameters())
        if grad_norm is not None:
            runner.log_buffer.update({"grad_norm": grad_norm}, runner.outputs["num_samples"])

    def after_train_iter(self, runner: Any) -> None:
        """Update the parameters."""
        loss, optimizer = _loss_of(runner), runner.optimizer
        _zero_grad(optimizer)
        if self.detect_anomalous_params:
            self.detect_anomalous_parameters(loss, runner)
        loss.backward()
        if self.grad_clip is not None:
            self._clip_and_log(runner)
        _step(optimizer)

    def detect_anomalous_parameters(self, loss: Tensor, runner: Any) -> None:
        """Log an error for each parameter that wants a gradient and is not in the graph of ``loss``."""
        reached: set[Any] = set()
        seen: set[Any] = {None}
        waiting: list[Any] = [loss.grad_fn]
        while waiting:
            node = waiting.pop()
            if node in seen:
                continue
            seen.add(node)
            if hasattr(node, "variable"):
                reached.add(node.variable)
            waiting += [parent for parent, _ in node.next_functions]
        for name, param in runner.model.named_parameters():
            if param.requires_grad and param not in reached:
                # By keyword, as users' own loggers may take them.
                text = f"the loss does not depend on the parameter {name} of shape {tuple(param.shape)}\n"
                runner.logger.log(level=logging.ERROR, msg=text)


@HOOKS.register_module()
class GradientCumulativeOptimizerHook(OptimizerHook):
    """One step for every ``cumulative_iters`` iterations, on the mean of their losses.

    The iterations at the end of a run that fill no window share a step. A checkpoint that is saved inside a window has
    the gradients of the window so far, so that it is resumed exactly; without them their losses are lost.
    """

    def __init__(self, cumulative_iters: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        is_number = isinstance(cumulative_iters, int) and not isinstance(cumulative_iters, bool)
        demand(
            is_number and cumulative_iters > 0,
            f"{type(self).__name__} cumulative_iters must be a whole number of at least 1, got {cumulative_iters!r}",
        )
        self.cumulative_iters = cumulative_iters
        self.divisible_iters = 0
        self.remainder_iters = 0
        self.initialized = False
        self._n_held = 0  # losses in the open window
        self._has_told = False

    @property
    def window_is_open(self) -> bool:
        """Whether the gradients of a window that is not full are held: a checkpoint must have them."""
        return self._n_held > 0

    def has_batch_norm(self, module: nn.Module) -> bool:
        """Whether ``module`` has a batch norm inside."""
        return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())

    def _init(self, runner: Any) -> None:
        n_before = runner.iter % self.cumulative_iters
        if n_before and not self._n_held:
            runner.logger.warning(
                f"training goes on after iteration {runner.iter}, inside a window of {self.cumulative_iters} "
                f"cumulative_iters, and the gradients of the {n_before} iteration(s) before it were not saved: they "
                "are lost."
            )
        if self.cumulative_iters > 1 and self.has_batch_norm(runner.model):
            runner.logger.warning(
                f"cumulative_iters={self.cumulative_iters} with batch norm: its statistics still come from the single "
                "batches, so the result is near that of one large batch, not equal to it."
            )
        self.divisible_iters = runner.max_iters // self.cumulative_iters * self.cumulative_iters
        self.remainder_iters = runner.max_iters - self.divisible_iters
        self.initialized = True

    def _get_loss_factor(self, runner: Any) -> int:
        """How many iterations share the step of the running one."""
        if runner.iter < runner.max_iters - self.remainder_iters:
            return self.cumulative_iters
        if not self._has_told:
            self._has_told = True
            runner.logger.warning(
                f"the last {self.remainder_iters} iteration(s) fill no window of {self.cumulative_iters} "
                f"cumulative_iters: their losses are divided by {self.remainder_iters}."
            )
        assert self.remainder_iters > 0
        return self.remainder_iters

    def _is_step_due(self, runner: Any) -> bool:
        return self.every_n_iters(runner, self.cumulative_iters) or self.is_last_iter(runner)

    def _loss_share(self, runner: Any) -> Tensor:
        if not self.initialized:
            self._init(runner)
        loss: Tensor = _loss_of(runner) / self._get_loss_factor(runner)
        self._n_held += 1
        return loss

    def after_train_iter(self, runner: Any) -> None:
        """Add the gradients; update the parameters at the end of a window."""
        self._loss_share(runner).backward()
        if self._is_step_due(runner):
            self._clip_and_log(runner)
            _step(runner.optimizer)
            _zero_grad(runner.optimizer)
            self._n_held = 0

    def state_dict(self) -> dict[str, Any]:
        """How many losses the open window has; their gradients are saved by the runner."""
        return {"n_held": self._n_held}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with an open window, whose gradients the runner puts in place."""
        self._n_held = int(state_dict["n_held"])


@HOOKS.register_module()
class Fp16OptimizerHook(OptimizerHook):
    """As OptimizerHook, with a scaled loss, for a model whose methods are decorated with ``auto_fp16``.

    ``loss_scale``: a number, which stays; 'dynamic'; or a dict of arguments for ``torch.amp.GradScaler``. Its state is
    in ``runner.meta["fp16"]["loss_scaler"]``, from where it is resumed; it is read from the device when somebody looks.
    On a GPU half precision is float16, on a CPU bfloat16. ``coalesce``, ``bucket_size_mb`` and ``distributed`` are
    there for old configs: torch brings the gradients of all ranks together.
    """

    def __init__(
        self,
        grad_clip: dict[str, Any] | None = None,
        coalesce: bool = True,
        bucket_size_mb: int = -1,
        loss_scale: float | str | dict[str, Any] = 512.0,
        distributed: bool = True,
    ) -> None:
        super().__init__(grad_clip)
        self.coalesce = coalesce
        self.bucket_size_mb = bucket_size_mb
        self.distributed = distributed
        self._scale_update_param: float | None = None
        self._scaler_options: dict[str, Any] = {}
        if isinstance(loss_scale, dict):
            self._scaler_options = dict(loss_scale)
        elif isinstance(loss_scale, (int, float)) and not isinstance(loss_scale, bool) and loss_scale > 0:
            self._scale_update_param = self._scaler_options["init_scale"] = float(loss_scale)
        elif loss_scale != "dynamic":
            raise ConfigTypeError(
                f"{type(self).__name__} loss_scale must be a number above 0, 'dynamic' or a dict of GradScaler "
                f"arguments, got {loss_scale!r}"
            )
        self._make_scaler("cuda" if torch.cuda.is_available() else "cpu")

    def _make_scaler(self, device: str) -> None:
        self._scaler_device = device
        self.loss_scaler = GradScaler(device, **self._scaler_options)
        self._seen_state = ScalerState(self.loss_scaler)

    def before_run(self, runner: Any) -> None:
        """Switch the model to half precision, and take up the loss scale of the run that is resumed."""
        wrap_fp16_model(runner.model)
        device = next((p.device.type for p in runner.model.parameters()), self._scaler_device)
        if device != self._scaler_device:
            self._make_scaler(device)
        if isinstance(runner.optimizer, Optimizer):
            step_with_scaler_alone(runner.optimizer, self.loss_scaler)
        if runner.meta is None:
            runner.meta = {}
        saved = runner.meta.get("fp16", {}).get("loss_scaler")
        if saved and self.loss_scaler.is_enabled():
            self.loss_scaler.load_state_dict(dict(saved))

    def copy_grads_to_fp32(self, fp16_net: nn.Module, fp32_weights: Iterable[Tensor]) -> None:
        """Copy the gradients of a half precision model to weights in single precision."""
        for weight, param in zip(fp32_weights, fp16_net.parameters(), strict=True):
            if param.grad is not None:
                if weight.grad is None:
                    weight.grad = torch.empty_like(weight)
                weight.grad.copy_(param.grad)

    def copy_params_to_fp16(self, fp16_net: nn.Module, fp32_weights: Iterable[Tensor]) -> None:
        """Copy weights in single precision to the parameters of a half precision model."""
        for param, weight in zip(fp16_net.parameters(), fp32_weights, strict=True):
            param.data.copy_(weight.data)

    def _zero_all(self, runner: Any) -> None:
        runner.model.zero_grad()  # the optimizer need not have all parameters
        _zero_grad(runner.optimizer)

    def _scaled_step(self, runner: Any) -> None:
        self.loss_scaler.unscale_(runner.optimizer)
        self._clip_and_log(runner)
        self.loss_scaler.step(runner.optimizer)
        self.loss_scaler.update(self._scale_update_param)

    def _scaled_backward(self, runner: Any, loss: Tensor) -> None:
        self.loss_scaler.scale(loss).backward()
        runner.meta.setdefault("fp16", {})["loss_scaler"] = self._seen_state

    def after_train_iter(self, runner: Any) -> None:
        """Update the parameters, unless a gradient overflowed."""
        self._zero_all(runner)
        self._scaled_backward(runner, _loss_of(runner))
        self._scaled_step(runner)


@HOOKS.register_module()
class GradientCumulativeFp16OptimizerHook(GradientCumulativeOptimizerHook, Fp16OptimizerHook):
    """GradientCumulativeOptimizerHook with the scaled loss of Fp16OptimizerHook, whose arguments it takes as well."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    def after_train_iter(self, runner: Any) -> None:
        """Add the gradients; update the parameters at the end of a window, unless a gradient overflowed."""
        self._scaled_backward(runner, self._loss_share(runner))
        if self._is_step_due(runner):
            self._scaled_step(runner)
            self._zero_all(runner)
            self._n_held = 0


class ScalerState(dict[str, Any]):
    """The state of a GradScaler as the dict that it is, read from the device whenever somebody looks at it."""

    def __init__(self, scaler: GradScaler) -> None:
        super().__init__(scaler.state_dict())
        self._scaler = scaler

    def _now(self) -> dict[str, Any]:
        state = self._scaler.state_dict()
        super().update(state)
        return state

    def __getitem__(self, key: str) -> Any:
        return self._now()[key]

    def get(self, key: str, default: Any = None) -> Any:
        return self._now().get(key, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        return self._now().keys()

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        return self._now().values()

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        return self._now().items()

    def copy(self) -> dict[str, Any]:
        return self._now()

    def __eq__(self, other: object) -> bool:
        return self._now() == other

    def __repr__(self) -> str:
        return repr(self._now())

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self._now(),)
