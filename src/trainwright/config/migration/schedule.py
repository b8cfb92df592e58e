"""`lr_config` and `momentum_config` of MMCV 1.x as parameter schedulers that give the same values.

The old hooks computed a value from scratch each time: the regular one of its policy, times the factor of a warm-up.
Today's schedulers multiply, so the same values come from two schedulers that run side by side. An old warm-up of n
iterations reached the full value at iteration n, and an old decay over n steps would have reached its end at step n;
the schedulers reach theirs at the last step before `end`, so `end` is n + 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainwright.config.migration.job import Job, Tree, moved, short
from trainwright.config.migration.policies import POLICIES, Policy

_LR_HOOK, _MOMENTUM_HOOK = "LrUpdaterHook", "MomentumUpdaterHook"
_WARMUP = ("warmup", "warmup_iters", "warmup_ratio", "warmup_by_epoch")


def convert_schedules(job: Job) -> None:
    """Take `lr_config` and `momentum_config`; put `param_scheduler`."""
    schedulers: list[Tree] = []
    optimizer = job.new.get("optim_wrapper", {}).get("optimizer", {})
    for key in ("lr_config", "momentum_config"):
        options = job.take_dict(key)
        if options:
            base = _base_value(job, optimizer, key)
            schedulers += _convert(Policy(job, key, options, base))
    if schedulers:
        job.new["param_scheduler"] = schedulers


def _base_value(job: Job, optimizer: Any, key: str) -> float | None:
    """The value that all parameters start from; None where they have several."""
    if not isinstance(optimizer, dict) or "paramwise_cfg" in job.new.get("optim_wrapper", {}):
        return None
    value = optimizer.get("lr" if key == "lr_config" else "momentum")
    return value if isinstance(value, (int, float)) else None


def _convert(policy: Policy) -> list[Tree]:
    name = policy.options.pop("policy", None) or policy.options.pop("type", None)
    if not isinstance(name, str):
        policy.note("policy", "it names no policy.", "Write param_scheduler yourself.")
        return []
    hook = _LR_HOOK if policy.kind == "LR" else _MOMENTUM_HOOK
    plain = name.removesuffix(hook)
    convert = POLICIES.get(plain.title() if plain == plain.lower() else plain)
    warmup = moved(policy.options, _WARMUP)
    if convert is None:
        policy.note(
            "policy",
            f"{name!r} is a schedule of the project that this config belongs to, or one without a counterpart.",
            f"Its options were {short(policy.options)}; write a param_scheduler for it.",
        )
    else:
        if policy.by_epoch and not policy.job.by_epoch:
            policy.note(
                "by_epoch",
                "it counted epochs although the training counts iterations; epochs of the loader are not counted now.",
                "Give the milestones or lengths in iterations, with by_epoch=False.",
            )
        convert(policy)
        policy.job.leftovers(policy.key, policy.options, f"is no option of the policy {name!r}.", "Left out.")
    _add_warmup(policy, warmup)
    return policy.schedulers


# -- warm-up -----------------------------------------------------------------------------------------------------------
def _add_warmup(policy: Policy, warmup: Tree) -> None:
    kind, length = warmup.get("warmup"), warmup.get("warmup_iters", 0)
    if kind is None or not length:
        return
    ratio, by_epoch = warmup.get("warmup_ratio", 0.1), warmup.get("warmup_by_epoch", False)
    if policy.kind == "Momentum":
        policy.note(
            "warmup",
            "the warm-up of momentum divided by its factor, so it began above the regular value; schedulers multiply.",
            "Left out; a CosineAnnealingMomentum over the first iterations comes near.",
        )
        return
    if any(item["type"] == "OneCycleLR" for item in policy.schedulers):
        policy.note("warmup", "OneCycleLR sets the learning rate by itself and goes with no warm-up.", "Left out.")
        return
    span: Tree = {"begin": 0, "end": length + 1}
    policy.unit = {"by_epoch": False}
    if by_epoch:
        policy.unit, span = {"by_epoch": True, "convert_to_iter_based": True}, {"begin": 0, "end": length}
        policy.note(
            "warmup_by_epoch",
            f"a span in epochs ends one iteration earlier than the old warm-up of {length} epochs, so its factors are "
            "larger by less than one iteration's step.",
        )
    _warn_of_floor(policy, length, by_epoch)
    regular, policy.schedulers = policy.schedulers, []
    _WARMUPS.get(kind, _unknown_warmup)(policy, ratio, length, span)
    if any(item["type"].startswith("CosineRestart") for item in regular):  # it sets the value at each restart
        policy.schedulers = regular + policy.schedulers
    else:
        policy.schedulers += regular


def _linear_warmup(policy: Policy, ratio: float, length: int, span: Tree) -> None:
    policy.add("Linear", start_factor=ratio, **span)


def _constant_warmup(policy: Policy, ratio: float, length: int, span: Tree) -> None:
    policy.add("Constant", factor=ratio, **span)


def _exp_warmup(policy: Policy, ratio: float, length: int, span: Tree) -> None:
    if "convert_to_iter_based" in policy.unit:
        policy.note(
            "warmup",
            "an exponential warm-up in epochs needs the number of iterations in an epoch.",
            "A straight line between the same values stands in its place.",
        )
        policy.add("Linear", start_factor=ratio, **span)
        return
    policy.add("Linear", start_factor=ratio, end_factor=ratio, begin=0, end=2)  # the first value; it stays
    policy.add("Exponential", gamma=ratio ** (-1 / length), **span)


def _unknown_warmup(policy: Policy, ratio: float, length: int, span: Tree) -> None:
    policy.note("warmup", f"{policy.key} knows the warm-ups constant, linear and exp, not this one.", "Left out.")


_WARMUPS: dict[Any, Callable[[Policy, float, int, Tree], None]] = {
    "linear": _linear_warmup,
    "constant": _constant_warmup,
    "exp": _exp_warmup,
}


def _warn_of_floor(policy: Policy, length: int, by_epoch: bool) -> None:
    """A schedule towards a floor above 0 is no plain factor, so it does not commute with a warm-up."""
    if not any(item.get("eta_min") or item.get("eta_min_ratio") for item in policy.schedulers):
        return
    why = (
        "the warm-up runs beside a schedule whose lowest value is above 0, and the two do not commute: during the "
        "warm-up and after it the values differ a little from the old ones."
    )
    if policy.by_epoch and not by_epoch:
        why = (
            "with a lowest value above 0 the values are the old ones if the warm-up ends within the first epoch; "
            "otherwise they differ a little."
        )
    policy.note("warmup", why)
