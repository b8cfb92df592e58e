"""Logs the norms of gradients and weights."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from trainwright.base.errors import ConfigTypeError
from trainwright.engine import Hook
from trainwright.hooks.gradient_norms import NormOfEach, clipping_logs_norm, joined, watch_norms, wrappers_by_name
from trainwright.hooks.intervals import whole_number
from trainwright.hooks.module_patterns import checked_patterns, parameters_by_pattern
from trainwright.registry import HOOKS
from trainwright.state import MetricStore

_FOLD_ROWS = 4096  # rows that wait unread before the store folds them


@HOOKS.register_extra
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
        for name, one in wrappers_by_name(runner.optim_wrapper).items():
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
        """Go on counting; also inside a training that goes back to where it was."""
        self._n_updates = dict(state["n_updates"])
        for name, watched in self._watched.items():
            watched.n_updates = self._n_updates.get(name, 0)


class _Watched:
    """The updates of one optimizer, of which the norms are logged."""

    def __init__(
        self, hook: GradNormHook, name: str, wrapper: Any, groups: dict[str, dict[str, nn.Parameter]], ctx: Any
    ) -> None:
        self.n_updates = 0
        self.interval, self.norm_type, self.weights = hook.interval, hook.norm_type, hook.weights
        self.metrics: MetricStore = ctx.metrics
        self.clock = ctx.clock
        self.prefix = f"{name}." if name else ""
        self.with_total = bool(name) or not clipping_logs_norm(wrapper)
        self.norms, self.close = watch_norms(wrapper, self.before_update, with_each=bool(groups))
        places = {id(parameter): place for place, parameter in enumerate(self.norms.params)}
        self.groups = {
            pattern: [places[id(p)] for p in own.values() if id(p) in places] for pattern, own in groups.items()
        }
        # The usual case, the total alone, goes without the tables below.
        self.is_simple = self.with_total and not groups
        self.rows: list[Any] = self.metrics.rows("train", f"{self.prefix}grad_norm") if self.is_simple else []

    def before_update(self) -> None:
        """Log what is due."""
        if self.n_updates % self.interval == 0:
            total = self.norms.total(self.norm_type) if self.with_total else None
            if self.is_simple:
                if total is not None:
                    self._append(self.rows, total)
            else:
                self._log("grad_norm", total, self.norms.of_each(self.norm_type))
            if self.weights:
                weights = self.norms.of_weights(self.norm_type)
                self._log("weight_norm", joined(weights.norms, self.norm_type), weights)
        self.n_updates += 1

    def _log(self, name: str, total: Tensor | None, each: NormOfEach) -> None:
        values = {} if total is None else {f"{self.prefix}{name}": total}
        if self.groups:
            by_place = dict(zip(each.places, each.norms, strict=True))
            for pattern, places in self.groups.items():
                if own := [by_place[place] for place in places if place in by_place]:
                    values[f"{self.prefix}{name}/{pattern}"] = joined(own, self.norm_type)
        if values:
            self._append(self.metrics.rows("train", *values), *values.values())

    def _append(self, rows: list[Any], *values: Tensor) -> None:
        rows.append((self.clock.iter, 1, *values))
        if len(rows) >= _FOLD_ROWS:
            self.metrics.fold()
