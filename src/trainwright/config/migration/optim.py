"""`optimizer`, `optimizer_config` and `fp16` of MMCV 1.x as `optim_wrapper`."""

from __future__ import annotations

from typing import Any

from trainwright.config.migration.job import Job, Tree, moved, short

_OLD_CONSTRUCTOR, _CONSTRUCTOR = "DefaultOptimizerConstructor", "DefaultOptimWrapperConstructor"
# Hooks that stepped the optimizer, and what each did besides.
_PLAIN_HOOKS = ("OptimizerHook", "DistOptimizerHook", "GradientCumulativeOptimizerHook")
_HALF_HOOKS = ("Fp16OptimizerHook", "GradientCumulativeFp16OptimizerHook")
_APEX_HOOKS = ("ApexOptimizerHook",)
_HOOK_LOSS_SCALE = 512.0  # what Fp16OptimizerHook took when it was told nothing
_NOW_AUTOMATIC = ("coalesce", "bucket_size_mb", "distributed")  # the old all-reduce after backward; DDP overlaps it


def convert_optimizer(job: Job) -> None:
    """Take `optimizer` (or `optimizers`, as MMEditing and MMGeneration had it), `optimizer_config` and `fp16`; put
    `optim_wrapper`.
    """
    several = job.take_dict("optimizers") if job.old.get("optimizer") is None else None
    optimizer = job.take_dict("optimizer") or several
    step = job.take_dict("optimizer_config")
    half = job.take("fp16")
    if optimizer is None:
        if step or half:
            job.note("optimizer_config", "there is no optimizer that it could be about.", "Left out.")
        return
    wrapper: Tree = {"type": "OptimWrapper"}
    if "type" in optimizer:
        constructor = optimizer.pop("constructor", None)
        paramwise = optimizer.pop("paramwise_cfg", None)
        wrapper["optimizer"] = optimizer
        _step_options(job, wrapper, step or {}, half)
        if paramwise:
            wrapper["paramwise_cfg"] = paramwise
        if constructor not in (None, _OLD_CONSTRUCTOR):
            wrapper["constructor"] = constructor
            job.note(
                "optimizer.constructor",
                f"{constructor!r} builds an optimizer; today a constructor builds an optim wrapper.",
                f"Make it a subclass of {_CONSTRUCTOR}, or name the one of the project's newer version.",
            )
    else:
        wrapper = _several(job, optimizer, step or {}, half)
    job.new["optim_wrapper"] = wrapper


def _several(job: Job, optimizers: Tree, step: Tree, half: Any) -> Tree:
    shared: Tree = {"type": "OptimWrapper"}
    _step_options(job, shared, step, half)
    job.note(
        "optimizer",
        f"it has several optimizers ({', '.join(map(str, optimizers))}), each of which needs an optim wrapper.",
        "Register a constructor that builds an OptimWrapperDict, or name the one of the project's newer version.",
    )
    wrappers = {name: {**shared, **_wrapped(optimizer)} for name, optimizer in optimizers.items()}
    return {**wrappers, "constructor": "MultiOptimWrapperConstructor"}


def _wrapped(optimizer: Any) -> Tree:
    """One of several optimizers, its own parameter groups beside it."""
    groups = moved(optimizer, ("paramwise_cfg", "constructor")) if isinstance(optimizer, dict) else {}
    return {"optimizer": optimizer, **groups}


def _step_options(job: Job, wrapper: Tree, step: Tree, half: Any) -> None:
    """What the optimizer hook did at each step, put into the wrapper."""
    kind = step.pop("type", "OptimizerHook")
    counts = step.pop("cumulative_iters", step.pop("update_interval", 1))
    apex = step.pop("use_fp16", False) or kind in _APEX_HOOKS
    if half is not None or apex or kind in _HALF_HOOKS:
        _mixed_precision(job, wrapper, step, half, apex)
    elif kind not in _PLAIN_HOOKS:
        job.note("optimizer_config.type", f"{kind!r} is a hook of the config's own project.", _OWN_HOOK)
    if counts != 1:
        wrapper["accumulative_counts"] = counts
    clip = step.pop("grad_clip", None)
    if clip:
        wrapper["clip_grad"] = clip
    if step.pop("detect_anomalous_params", False):
        _put_model_wrapper(job, detect_anomalous_params=True)
    for name in _NOW_AUTOMATIC:
        step.pop(name, None)
    job.leftovers("optimizer_config", step, "has no counterpart in OptimWrapper.", "Left out.")


_OWN_HOOK = (
    "What it did at a step belongs into a subclass of OptimWrapper today; clipping and accumulation were taken over."
)


def _mixed_precision(job: Job, wrapper: Tree, step: Tree, half: Any, apex: bool) -> None:
    options = dict(half) if isinstance(half, dict) else {}
    scale = step.pop("loss_scale", "dynamic" if apex else _HOOK_LOSS_SCALE)
    wrapper["type"] = "AmpOptimWrapper"
    wrapper["loss_scale"] = options.pop("loss_scale", scale)
    if apex:
        job.note("optimizer_config.use_fp16", "it used apex; today it is torch.autocast.", "The loss scale is dynamic.")
        step.pop("use_apex", None)
    else:
        job.note(
            "fp16" if half is not None else "optimizer_config.type",
            "half precision applied to the functions that the model marked (auto_fp16); now autocast holds for its "
            "whole forward pass.",
            "Remove auto_fp16 and force_fp32 from the model, and use torch.autocast(..., enabled=False) around what "
            "needs float32.",
        )
    job.leftovers("fp16", options, "has no counterpart in AmpOptimWrapper.", "Left out.")


def convert_parallel(job: Job) -> None:
    """Take `find_unused_parameters`; put `model_wrapper_cfg`."""
    if job.take("find_unused_parameters", False):
        _put_model_wrapper(job, find_unused_parameters=True)


def _put_model_wrapper(job: Job, **options: Any) -> None:
    wrapper = job.section("model_wrapper_cfg")
    wrapper.setdefault("type", "MMDistributedDataParallel")
    wrapper.update(options)


def scaled_batch(job: Job) -> None:
    """`auto_scale_lr` has the same keys today."""
    if "auto_scale_lr" in job.old:
        options = job.take("auto_scale_lr")
        kept = moved(options, ("enable", "base_batch_size")) if isinstance(options, dict) else options
        job.new["auto_scale_lr"] = kept
        if isinstance(options, dict):
            job.leftovers("auto_scale_lr", options, f"is unknown; {short(kept)} is kept.")
