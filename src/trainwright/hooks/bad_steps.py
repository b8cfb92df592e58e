"""Which training steps are bad, judged by the numbers that were logged."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from typing import Any

import numpy as np
import torch

from trainwright.dist import local
from trainwright.hooks.gradient_norms import clipping_logs_norm, watch_norms, wrappers_by_name
from trainwright.hooks.runtime_info_hook import is_loss

_FOLD_ROWS = 4096  # rows that wait unread before the store folds them
_LEAST = 20  # losses that must be known before one can lie far above them
_LEAST_SPREAD = 1e-3  # of the mean: losses that hardly vary would make a spike of any change
Flushed = Mapping[str, tuple[Sequence[int], Sequence[float]]]


@dataclass(frozen=True)
class BadStep:
    """One step, counted from 0. ``kind``: 'loss', 'gradient' or 'spike'. ``others``: iterations right behind it with
    losses as high."""

    iteration: int
    kind: str
    reason: str
    losses: dict[str, float] = field(default_factory=dict)
    grad_norms: dict[str, float] = field(default_factory=dict)
    others: tuple[int, ...] = ()

    @property
    def is_spike(self) -> bool:
        """Whether all its numbers are finite."""
        return self.kind == "spike"

    def terms(self) -> str:
        """Its numbers in words."""
        numbers = {**self.losses, **{name_of_norm(name): norm for name, norm in self.grad_norms.items()}}
        return ", ".join(f"{name} = {number:.6g}" for name, number in numbers.items())


def name_of_norm(wrapper_name: str) -> str:
    """What the gradient norm of a wrapper is called."""
    return f"{wrapper_name}.grad_norm" if wrapper_name else "grad_norm"


class NormWatch:
    """Puts the gradient norm of each update into the metrics, for the guard alone, and with a loss scaler its scale.

    A norm that clipping logs by itself is taken from there. ``norms`` and ``scales``: full metric names by the name of
    the optimizer wrapper.
    """

    def __init__(self, ctx: Any, optim_wrapper: Any) -> None:
        self.norms: dict[str, str] = {}
        self.scales: dict[str, str] = {}
        self._ends: list[Callable[[], None]] = []
        self._metrics, self._clock = ctx.metrics, ctx.clock
        for name, wrapper in wrappers_by_name(optim_wrapper).items():
            has_scale = hasattr(wrapper, "loss_scaler")
            if clipping_logs_norm(wrapper) and not name and not has_scale:
                self.norms[name] = "train/grad_norm"
                continue
            self.norms[name], self.scales[name] = (f"guard/{what}:{name}" for what in ("grad_norm", "loss_scale"))
            self._metrics.unkept |= {self.norms[name], self.scales[name]}
            self._watch(name, wrapper)

    def _watch(self, name: str, wrapper: Any) -> None:
        metrics, clock = self._metrics, self._clock
        rows = metrics.rows("guard", f"grad_norm:{name}")

        def before_update() -> None:
            norm = norms.total()
            if norm is None:
                return
            rows.append((clock.iter, 1, norm))
            if len(rows) >= _FOLD_ROWS:
                metrics.fold()
            scale = wrapper.loss_scale_tensor()
            if scale is not None:
                metrics.put("guard", {f"loss_scale:{name}": scale})

        norms, end = watch_norms(wrapper, before_update)
        self._ends.append(end)

    def close(self) -> None:
        """Let the updates go unwatched; what waits unread stays out of the histories."""
        for end in self._ends:
            end()


class Judge:
    """Looks at flushed metrics for the first bad step; remembers the last good losses."""

    def __init__(self, spike_sigma: float | None, window: int) -> None:
        self.sigma, self.window = spike_sigma, window
        self.recent: dict[str, deque[float]] = {}
        self.watch: NormWatch | None = None

    def first_bad(self, flushed: Flushed) -> BadStep | None:
        """The earliest bad step of these; with several reasons, that of the loss."""
        found = min(self._not_finite(flushed), default=None, key=lambda item: (item[0], item[1] != "loss"))
        end = inf if found is None else found[0]
        spikes = [] if self.sigma is None else self._spikes(flushed, end)
        if spikes:
            first, name, value, mean, limit = spikes[0]
            reason = f"spike: {name} is {value:.6g}, with a mean of {mean:.6g} before it and a limit of {limit:.6g}"
            spiking = {spike[0] for spike in spikes}
            others: list[int] = []
            while first + len(others) + 1 in spiking:
                others.append(first + len(others) + 1)
            return BadStep(first, "spike", reason, *self.numbers(flushed, first), tuple(others))
        if found is None:
            return None
        at, kind, name, value = found
        return BadStep(at, kind, f"{name} is {value}", *self.numbers(flushed, at))

    def numbers(self, flushed: Flushed, iteration: int) -> tuple[dict[str, float], dict[str, float]]:
        """Losses, and gradient norms by wrapper, of one iteration."""
        losses = {name.partition("/")[2]: flushed[name] for name in flushed if is_loss(name)}
        norms = {name: flushed[full] for name, full in (self.watch.norms if self.watch else {}).items()
                 if full in flushed}  # fmt: skip
        return _at(losses, iteration), _at(norms, iteration)

    def _not_finite(self, flushed: Flushed) -> Iterator[tuple[int, str, str, float]]:
        for full, (iters, values) in flushed.items():
            if is_loss(full) and not all(map(isfinite, values)):
                bad = ((at, v) for at, v in zip(iters, values, strict=True) if not isfinite(v))
                at, value = min(bad, key=lambda item: item[0])
                yield at, "loss", full.partition("/")[2], value
        for name, full in (self.watch.norms if self.watch else {}).items():
            iters, values = flushed.get(full, ((), ()))
            if not all(map(isfinite, values)):
                # What overflows under a loss scale is skipped by the scaler, which lowers it; below 1 it gives up.
                scales = _by_iteration(flushed.get(self.watch.scales.get(name, ""), ((), ())))  # type: ignore[union-attr]
                for at, value in zip(iters, values, strict=True):
                    if not isfinite(value) and scales.get(at, 0.0) < 1.0:
                        yield at, "gradient", name_of_norm(name), value
                        break

    def _spikes(self, flushed: Flushed, end: float) -> list[tuple[int, str, float, float, float]]:
        """(iteration, name, value, mean, limit) of losses far above those before; good ones are remembered, up to the
        first that is not."""
        names = ["train/loss"] if "train/loss" in flushed else [name for name in flushed if is_loss(name)]
        found = []
        for full in names:
            recent = self.recent.setdefault(full, deque(maxlen=self.window))
            has_met = False
            for at, value in zip(*flushed[full], strict=True):
                if at >= end:
                    break
                mean, limit = self._limit(recent)
                if value > limit:
                    found.append((at, full.partition("/")[2], value, mean, limit))
                    has_met = True
                elif not has_met:
                    recent.append(value)
        return sorted(found, key=lambda item: item[0])

    def _limit(self, recent: deque[float]) -> tuple[float, float]:
        if len(recent) < min(_LEAST, self.window):
            return 0.0, inf
        values = np.asarray(recent)
        mean = float(values.mean())
        spread = max(float(values.std()), _LEAST_SPREAD * abs(mean))
        assert self.sigma is not None
        return mean, mean + self.sigma * spread

    def state_dict(self) -> dict[str, Any]:
        """The last good losses."""
        return {name: list(values) for name, values in self.recent.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Judge from these on."""
        self.recent = {name: deque(values, maxlen=self.window) for name, values in state.items()}


def _by_iteration(series: tuple[Sequence[int], Sequence[float]]) -> dict[int, float]:
    return dict(zip(*series, strict=True))


def _at(series: Mapping[str, tuple[Sequence[int], Sequence[float]]], iteration: int) -> dict[str, float]:
    found = {name: _by_iteration(values) for name, values in series.items()}
    return {name: values[iteration] for name, values in found.items() if iteration in values}


def gradients_are_finite(wrappers: Iterable[Any]) -> bool:
    """Whether all gradients held now are finite. Reads the device."""
    grads = [grad for wrapper in wrappers for grad in wrapper.gradients_held()]
    held = [grad.coalesce().values() if grad.is_sparse else grad for grad in grads]
    return all(bool(torch.isfinite(local(grad)).all()) for grad in held)


def may_hold_spoilt(wrapper: Any) -> bool:
    """Whether ``wrapper`` holds gradients of an open accumulation window, and no loss scaler minds what overflows."""
    if wrapper.loss_scale_tensor() is not None:
        return False
    return bool(getattr(wrapper, "inner_count", 0)) and not wrapper.should_update()


def agreed_step(iteration: int, own: BadStep | None, of_ranks: Sequence[BadStep | None]) -> BadStep:
    """The same step on every rank, with the numbers of this one; what is bad on one rank is for all."""
    there = {rank: one for rank, one in enumerate(of_ranks) if one is not None and one.iteration == iteration}
    rank, worst = min(there.items(), key=lambda item: ("loss", "spike", "gradient").index(item[1].kind))
    others = tuple(sorted({other for one in there.values() for other in one.others}))
    if own is None or own.iteration != iteration:
        own = BadStep(iteration, worst.kind, f"{worst.reason} on rank {rank}")
    return replace(own, kind=worst.kind, others=others)
