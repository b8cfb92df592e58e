"""The schedules of MMCV 1.x, policy by policy, as today's schedulers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from trainwright.base.errors import ConfigError
from trainwright.config.migration.job import Job, Tree, moved


class Policy:
    """One old schedule on its way: what is left of its options, and the schedulers so far.

    `kind` is "LR" or "Momentum", `base` the value it starts from where one value holds for all parameters, `unit` the
    arguments that say what its steps count, `end` its length in them (None when not known).
    """

    def __init__(self, job: Job, key: str, options: Tree, base: float | None) -> None:
        self.job = job
        self.key = key
        self.kind = "LR" if key == "lr_config" else "Momentum"
        self.base = base
        self.options = options
        self.by_epoch = bool(options.pop("by_epoch", job.by_epoch))
        self.unit: Tree = {"by_epoch": self.by_epoch}
        self.end: int | None = job.horizon if self.by_epoch == job.by_epoch else None
        self.schedulers: list[Tree] = []

    def count_iterations(self) -> None:
        """Steps are iterations; in training by epoch they are given in epochs, to be converted when it starts."""
        self.by_epoch = False
        self.unit, self.end = {"by_epoch": False}, self.job.horizon
        if self.job.by_epoch:
            self.unit = {"by_epoch": True, "convert_to_iter_based": True}

    @property
    def is_converted(self) -> bool:
        return "convert_to_iter_based" in self.unit

    def add(self, name: str, **settings: Any) -> None:
        given = {key: value for key, value in settings.items() if value is not None}
        self.schedulers.append({"type": name + self.kind, **self.unit, **given})

    def note(self, option: str, why: str, todo: str = "") -> None:
        self.job.note(f"{self.key}.{option}" if option else self.key, why, todo)

    def required(self, name: str) -> Any:
        """An option without which the old hook could not be made."""
        if name not in self.options:
            raise ConfigError(f"{self.key} lacks {name!r}, which its policy needs")
        return self.options.pop(name)

    def floor(self, default: Any = None) -> Tree:
        """`min_lr` or `min_lr_ratio` (of momentum likewise) under today's names."""
        what = "lr" if self.kind == "LR" else "momentum"
        found = moved(self.options, {f"min_{what}": "eta_min", f"min_{what}_ratio": "eta_min_ratio"})
        return {key: value for key, value in found.items() if value is not None} or (
            {} if default is None else {"eta_min": default}
        )


def _fixed(policy: Policy) -> None:
    """The value stays."""


def _step(policy: Policy) -> None:
    step = policy.options.pop("step", None)
    gamma = policy.options.pop("gamma", 0.1 if policy.kind == "LR" else 0.5)
    lowest = policy.options.pop("min_lr" if policy.kind == "LR" else "min_momentum", None)
    milestones = [step] if isinstance(step, int) else list(step or [])
    if isinstance(step, int) and lowest is None:
        policy.add("Step", step_size=step, gamma=gamma)
        return
    if isinstance(step, int):
        if policy.end is None:
            policy.note("min_lr", "the length of the training in these steps is not known.", "The bound is left out.")
            policy.add("Step", step_size=step, gamma=gamma)
            return
        milestones = list(range(step, policy.end, step))
    if milestones != sorted(milestones):
        policy.note("step", f"{step!r} does not rise, and the first match counted.", "Sorted.")
    if lowest is None:
        _add_milestones(policy, sorted(milestones), gamma)
    else:
        _bounded_steps(policy, sorted(milestones), gamma, lowest)


def _add_milestones(policy: Policy, milestones: list[int], gamma: float) -> None:
    while milestones:
        once = sorted(set(milestones))
        policy.add("MultiStep", milestones=once, gamma=gamma)
        for step in once:  # a milestone that is listed twice counts twice, in a scheduler of its own
            milestones.remove(step)


def _bounded_steps(policy: Policy, milestones: list[int], gamma: float, lowest: float) -> None:
    """Steps until the next would fall below `lowest`; that one leads to it."""
    if policy.base is None:
        policy.note(
            "min_lr" if policy.kind == "LR" else "min_momentum",
            f"{lowest!r} bounded each value, and parameters have several here.",
            "The bound is left out.",
        )
        _add_milestones(policy, milestones, gamma)
        return
    kept = 0
    while kept < len(milestones) and policy.base * gamma ** (kept + 1) >= lowest:
        kept += 1
    _add_milestones(policy, milestones[:kept], gamma)
    reached = policy.base * gamma**kept
    if kept < len(milestones) and reached > lowest:
        policy.add("MultiStep", milestones=[milestones[kept]], gamma=lowest / reached)


def _exp(policy: Policy) -> None:
    policy.add("Exponential", gamma=policy.required("gamma"))


def _needs_length(policy: Policy) -> bool:
    """Make sure that `end` is known; decays by iteration in training by epoch are given in epochs."""
    if policy.by_epoch != policy.job.by_epoch and not policy.by_epoch:
        policy.count_iterations()
    if policy.end is None:
        policy.note("", "its length is that of the training, which this config does not say.", "Add `end`.")
    return policy.end is not None


def _one_late(policy: Policy) -> int | None:
    """`end` of a straight or polynomial decay, which reaches its last value one step after the training."""
    if not _needs_length(policy):
        return None
    assert policy.end is not None
    if policy.is_converted:
        policy.note(
            "by_epoch",
            "a decay by iteration whose length is given in epochs reaches its lowest value one iteration earlier than "
            "the old one, so its values are lower by less than one iteration's step.",
        )
        return policy.end
    return policy.end + 1


def _poly(policy: Policy) -> None:
    power = policy.options.pop("power", 1.0)
    end = _one_late(policy)
    policy.add("Poly", power=power, **policy.floor(default=0.0), begin=0, end=end)


def _cosine(policy: Policy) -> None:
    policy.options.update(moved(policy.options, {"target_lr": "min_lr"}))  # its name before MMCV 0.6
    _needs_length(policy)
    policy.add("CosineAnnealing", **policy.floor(default=0.0), begin=0, end=policy.end)


def _flat_cosine(policy: Policy) -> None:
    share = policy.options.pop("start_percent", 0.75)
    _needs_length(policy)
    begin: float | None = None
    if policy.end is not None:
        begin = _whole(share * policy.end) if policy.is_converted else round(share * policy.end)
    policy.add("CosineAnnealing", **policy.floor(default=0.0), begin=begin, end=policy.end)


def _cosine_restart(policy: Policy) -> None:
    periods = list(policy.required("periods"))
    weights = list(policy.options.pop("restart_weights", [1]))
    floor = policy.floor(default=0.0)
    ratio = floor.get("eta_min_ratio")
    if ratio is None and policy.base:
        ratio = floor["eta_min"] / policy.base
    if ratio is not None:  # a weight was a share of the way above the lowest value, and is one of the whole value
        weights = [_whole(ratio + weight * (1 - ratio)) for weight in weights]
    elif floor["eta_min"] and any(weight != 1 for weight in weights):
        why = "they were shares of the way above the lowest value, and are shares of the whole value today."
        policy.note("restart_weights", why, "Adapt them.")
    policy.add("CosineRestart", periods=periods, restart_weights=weights, **floor)


def _linear_annealing(policy: Policy) -> None:
    floor = policy.floor(default=0.0)
    end = _one_late(policy)
    if "eta_min" in floor:
        policy.add("Poly", power=1.0, **floor, begin=0, end=end)
    else:
        policy.add("Linear", start_factor=1.0, end_factor=floor["eta_min_ratio"], begin=0, end=end)


def _inverse(policy: Policy) -> None:
    formula = "base / (1 + gamma * step) ** power"
    given = moved(policy.options, ("gamma", "power"))
    policy.note(
        "policy",
        f"'inv', {formula}, has no counterpart: without a scheduler the value stays constant. Its options: {given}.",
        "Register a scheduler of your own, or take a PolyLR that comes near.",
    )


def _one_cycle(policy: Policy) -> None:
    policy.count_iterations()
    steps = policy.options.pop("total_steps", None)
    if steps is not None and policy.is_converted:  # its own length is in iterations
        policy.unit = {"by_epoch": False}
    length = policy.end if steps is None else steps
    if policy.kind == "Momentum":
        rest = moved(policy.options, ("pct_start", "anneal_strategy", "three_phase"))
        ends = {
            "eta_max": policy.options.pop("max_momentum", 0.95),
            "eta_min": policy.options.pop("base_momentum", 0.85),
        }
    else:
        names = ("pct_start", "anneal_strategy", "div_factor", "final_div_factor", "three_phase")
        rest = moved(policy.options, names)
        ends = {"eta_max": policy.required("max_lr")}
    if any(isinstance(value, dict) for value in ends.values()):
        policy.note("max_lr", "it has a value for each of several optimizers.", "Give each one a scheduler.")
    policy.add("OneCycle", **ends, total_steps=length, **rest)


def _cyclic(policy: Policy) -> None:
    up_share = policy.options.pop("step_ratio_up", 0.4)
    target = policy.options.pop("target_ratio", (10, 1e-4) if policy.kind == "LR" else (0.85 / 0.95, 1.0))
    high, low = target if isinstance(target, (list, tuple)) else (target, target / 1e5)
    times, gamma = policy.options.pop("cyclic_times", 1), policy.options.pop("gamma", 1.0)
    strategy = policy.options.pop("anneal_strategy", "cos")
    policy.count_iterations()
    if policy.end is None:
        policy.note("policy", "a cycle is a share of the training, whose length this config does not say.", "Left out.")
        return
    whole = not policy.is_converted
    period = policy.end // times if whole else policy.end / times
    rise = int(up_share * period) if whole else up_share * period
    if policy.is_converted:
        policy.note("policy", "legs of a cycle that are given in epochs meet one iteration apart from the old ones.")
    n_cycles = math.ceil(policy.end / period) if whole else times  # steps that are left over begin another one
    for cycle in range(n_cycles):
        begin = cycle * period
        peak = 1 - gamma**cycle + high * gamma**cycle
        _leg(policy, strategy, begin, rise, peak)
        if begin + rise < policy.end:
            _leg(policy, strategy, begin + rise, period - rise, low)
        if cycle < n_cycles - 1:
            policy.add("MultiStep", milestones=[_whole(begin + period)], gamma=1 / low)


def _leg(policy: Policy, strategy: str, begin: float, length: float, target: float) -> None:
    """From the present value to `target` times the base value; it arrives at the step where the next leg begins."""
    end = begin + length + (0 if policy.is_converted else 1)
    if strategy == "cos" and policy.end is not None:
        end = min(end, policy.end)
    if strategy == "cos":
        span = {"T_max": _whole(length), "begin": _whole(begin), "end": _whole(end)}
        policy.add("CosineAnnealing", eta_min_ratio=target, **span)
    elif policy.base is None:
        policy.note("anneal_strategy", "a straight leg needs one base value for all parameters.", "Left out.")
    else:
        policy.add("Poly", power=1.0, eta_min=policy.base * target, begin=begin, end=math.ceil(end))


def _whole(steps: float) -> float:
    """Without a `.0`."""
    return int(steps) if steps == int(steps) else steps


POLICIES: dict[str, Callable[[Policy], None]] = {
    "Fixed": _fixed,
    "Step": _step,
    "Exp": _exp,
    "Poly": _poly,
    "Inv": _inverse,
    "Cosine": _cosine,
    "CosineAnnealing": _cosine,
    "FlatCosineAnnealing": _flat_cosine,
    "CosineRestart": _cosine_restart,
    "LinearAnnealing": _linear_annealing,
    "Cyclic": _cyclic,
    "OneCycle": _one_cycle,
}
