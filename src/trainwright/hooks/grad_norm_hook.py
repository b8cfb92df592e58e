"""Logs the norms of gradients and weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors

from trainwright.base.errors import ConfigTypeError
from trainwright.dist import is_sharded, whole
from trainwright.engine import Hook
from trainwright.hooks.intervals import whole_number
from trainwright.hooks.module_patterns import checked_patterns, parameters_by_pattern
from trainwright.registry import HOOKS
from trainwright.state import MetricStore

_FOLD_ROWS = 4096  # rows that wait unread before the store folds them
_NO_TENSOR = type(None)
_FEW = 16384
_NARROW = (torch.float16, torch.bfloat16)


@HOOKS.register_module()
class GradNormHook(Hook):
    """Logs ``grad_norm``, the norm over all gradients of an update, before clipping and without the loss scale; with
    `weights` also ``weight_norm``, that of the weights before it.

    `interval` counts updates of the parameters. `modules` adds ``grad_norm/<pattern>`` for each pattern on dotted
    names, in which * stands for anything, and the name of a module means all of it. `norm_type` is the order of the
    norm, 'inf' for the largest component. Where clipping by norm logs ``grad_norm`` already, that one is it. Of several
    optimizers the names are ``<optimizer>.grad_norm``. Norms are computed and kept on the device.
    """

    priority = "NORMAL"

    def __init__(
        self,
        interval: int = 1,
        modules: list[str] | str | None = None,
        norm_type: float | str = 2.0,
        weights: bool = False,
    ) -> None:
        self.interval = whole_number(self, "interval", interval)
        self.modules = [] if modules is None else checked_patterns(self, "modules", modules)
        is_number = isinstance(norm_type, (int, float)) and not isinstance(norm_type, bool)
        if not (norm_type == "inf" or (is_number and float(norm_type) > 0)):
            raise ConfigTypeError(f"GradNormHook norm_type must be a number above 0 or 'inf', but got {norm_type!r}.")
        self.norm_type = float(norm_type)
        self.weights = weights
        self._watched: dict[str, _Watched] = {}
        self._n_updates: dict[str, int] = {}

    def before_train(self, runner: Any) -> None:
        """Watch the update of each optimizer; ConfigError for a pattern that fits nothing."""
        self._close()
        model = runner.strategy.unwrapped_model
        groups = parameters_by_pattern(self, model, self.modules)
        wrapper = runner.optim_wrapper
        for name, one in wrapper.items() if hasattr(wrapper, "items") else [("", wrapper)]:
            self._watched[name] = _Watched(self, name, one, groups, runner.ctx)
            self._watched[name].n_updates = self._n_updates.get(name, 0)

    def on_train_closed(self, runner: Any) -> None:
        """Let the updates go unwatched again."""
        self._close()

    def _close(self) -> None:
        self._n_updates.update({name: watched.n_updates for name, watched in self._watched.items()})
        for watched in self._watched.values():
            watched.close()
        self._watched = {}

    def state_dict(self) -> dict[str, Any]:
        """The number of updates of each optimizer, so that the interval goes on after a resume."""
        running = {name: watched.n_updates for name, watched in self._watched.items()}
        return {"n_updates": {**self._n_updates, **running}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting."""
        self._n_updates = dict(state["n_updates"])


class _Watched:
    """``step`` of one optimizer wrapper, with the norms taken right before it, when gradients are complete."""

    def __init__(
        self, hook: GradNormHook, name: str, wrapper: Any, groups: dict[str, dict[str, nn.Parameter]], ctx: Any
    ) -> None:
        self.n_updates = 0
        self.wrapper = wrapper
        self.interval, self.norm_type, self.weights = hook.interval, hook.norm_type, hook.weights
        self.metrics: MetricStore = ctx.metrics
        self.clock = ctx.clock
        self.prefix = f"{name}." if name else ""
        logs_own = bool(getattr(wrapper, "clip_grad_kwargs", None)) and getattr(wrapper, "grad_name", "") == "grad_norm"
        self.with_total = not (logs_own and not name)
        self.params: list[nn.Parameter] = [p for g in wrapper.optimizer.param_groups for p in g["params"]]
        places = {id(parameter): place for place, parameter in enumerate(self.params)}
        self.groups = {
            pattern: [places[id(p)] for p in own.values() if id(p) in places] for pattern, own in groups.items()
        }
        self.one_device = len({p.device for p in self.params}) == 1
        self.dtype = torch.float32 if any(p.dtype in _NARROW for p in self.params) else None
        # Its scale is taken as a device tensor: asking for it in public ways would read it.
        self.scaler = getattr(wrapper, "loss_scaler", None)
        # The usual case, the total alone, goes without the tables below.
        # A few thousand numbers on a CPU: to copy them together is faster than a norm of each tensor.
        n_numbers = sum(p.numel() for p in self.params) if len({p.dtype for p in self.params}) == 1 else _FEW
        self.is_small = (
            n_numbers < _FEW and self.dtype is None and all(p.is_cpu and not is_sharded(p) for p in self.params)
        )
        self.is_simple = self.with_total and not groups
        self.rows: list[Any] = self.metrics.rows("train", f"{self.prefix}grad_norm") if self.is_simple else []
        self.inner = wrapper.step
        self.was_plain = getattr(wrapper, "_is_plain", False)
        wrapper._is_plain = False  # update_params has step() written out for the plain case
        wrapper.step = self.step

    def close(self) -> None:
        vars(self.wrapper).pop("step", None)
        if self.was_plain:
            self.wrapper._is_plain = True

    def step(self, **kwargs: Any) -> None:
        """Norms when they are due, then the update."""
        if self.n_updates % self.interval == 0:
            grads: list[Any] = [p.grad for p in self.params]
            scale = getattr(self.scaler, "_scale", None)
            if self.is_simple and scale is None and _NO_TENSOR not in map(type, grads):
                self._append(self.rows, self._total(grads))
            else:
                self._log("grad_norm", grads, scale, self.with_total)
            if self.weights:
                self._log("weight_norm", [p.detach() for p in self.params], None, True)
        self.n_updates += 1
        self.inner(**kwargs)

    def _log(self, name: str, tensors: list[Any], scale: Tensor | None, with_total: bool) -> None:
        present = [place for place, tensor in enumerate(tensors) if tensor is not None]
        if not present or not (with_total or self.groups):
            return
        if len(present) < len(tensors):
            tensors = [tensors[place] for place in present]
        norms = self._norms(tensors)
        if scale is not None:
            norms = torch._foreach_div(norms, scale.to(norms[0].device))
        values: dict[str, Tensor] = {}
        if with_total:
            values[f"{self.prefix}{name}"] = self._joined(norms)
        if self.groups:
            by_place = dict(zip(present, norms, strict=True))
            for pattern, places in self.groups.items():
                if own := [by_place[place] for place in places if place in by_place]:
                    values[f"{self.prefix}{name}/{pattern}"] = self._joined(own)
        self._append(self.metrics.rows("train", *values), *values.values())

    def _total(self, tensors: list[Tensor]) -> Tensor:
        if self.is_small and all(tensor.layout is torch.strided for tensor in tensors):
            total: Tensor = torch.linalg.vector_norm(_flatten_dense_tensors(tensors), self.norm_type)
            return total.detach() if total.requires_grad else total
        return self._joined(self._norms(tensors))

    def _append(self, rows: list[Any], *values: Tensor) -> None:
        rows.append((self.clock.iter, 1, *values))
        if len(rows) >= _FOLD_ROWS:
            self.metrics.fold()

    def _norms(self, tensors: list[Tensor]) -> Any:
        """The norm of each, on one device, in at least single precision."""
        for tensor in tensors:
            if tensor.layout is not torch.strided:  # of a sparse embedding
                tensors = [t.coalesce().values() if t.layout is torch.sparse_coo else t for t in tensors]
                break
        norms: Any = torch._foreach_norm(tensors, self.norm_type, dtype=self.dtype)
        return norms if self.one_device else [norm.to(norms[0].device) for norm in norms]

    def _joined(self, norms: Any) -> Tensor:
        joined: Tensor = torch.linalg.vector_norm(torch.stack(norms), self.norm_type)
        joined = whole(joined)  # of sharded gradients each rank has computed a part
        return joined.detach() if joined.requires_grad else joined  # gradients of which a graph was asked for
