"""A config for MMCV 1.x with today's keys: what trains the same is carried over, what does not is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from trainwright.base.errors import ConfigError
from trainwright.config.migration.data import convert_data
from trainwright.config.migration.hooks import convert_checkpoint, convert_custom_hooks, convert_logging
from trainwright.config.migration.job import Job, Note, Tree, copied, short
from trainwright.config.migration.optim import convert_optimizer, convert_parallel, scaled_batch
from trainwright.config.migration.schedule import convert_schedules

__all__ = ["Migration", "Note", "migrate"]

OLD_KEYS = frozenset(
    {
        *("optimizer", "optimizers", "optimizer_config", "fp16", "lr_config", "momentum_config"),
        *("runner", "total_epochs", "total_iters", "workflow", "resume_from"),
        *("data", "evaluation", "checkpoint_config", "log_config"),
        *("dist_params", "cudnn_benchmark", "deterministic"),
    }
)
_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
_EVALUATORS = ("val_evaluator", "test_evaluator")
NEW_KEYS = frozenset(
    {
        *_LOADERS,
        *_EVALUATORS,
        *("optim_wrapper", "param_scheduler", "default_hooks", "log_processor", "visualizer"),
        *("val_cfg", "env_cfg", "randomness"),
    }
)
_EPOCH_RUNNERS = ("EpochBasedRunner", "Runner", "EpochBasedRunnerAmp")
_ITER_RUNNERS = ("IterBasedRunner", "DynamicIterBasedRunner", "IterBasedRunnerAmp")
_LOOP_KEYS = ("by_epoch", "max_epochs", "max_iters", "type")
# The order in which the new keys are written, behind the keys that were kept.
_ORDER = (
    *_LOADERS,
    *_EVALUATORS,
    *("train_cfg", "val_cfg", "test_cfg", "optim_wrapper", "param_scheduler", "auto_scale_lr"),
    *("default_hooks", "custom_hooks", "log_processor", "visualizer"),
    *("model_wrapper_cfg", "env_cfg", "randomness", "load_from", "resume"),
)


class Migration(NamedTuple):
    """The new tree, and a note for every setting that is not carried over exactly. `changed` is False for a config
    that has today's form already.
    """

    tree: Tree
    notes: list[Note]
    changed: bool


def migrate(old: Tree) -> Migration:
    """`old` with today's keys. Keys of neither form are kept as they are.

    Raises:
        ConfigError: There is nothing to migrate in it, and nothing of today's either.
    """
    ours, theirs = _has(old, NEW_KEYS) or _is_loop(old.get("train_cfg")), _has(old, OLD_KEYS)
    if not theirs and not ours:
        raise ConfigError(
            f"this is no config of a training for MMCV 1.x: none of its keys ({_listed(old)}) is one of those that are "
            f"migrated ({_listed(OLD_KEYS)}), nor one of today's. A file that is a base of others has no need to be "
            "migrated by itself: migrate the config that inherits from it."
        )
    tree = copied(old)
    if not theirs:
        return Migration(tree, [], False)
    return _migrated(tree, ours)


def _migrated(tree: Tree, mixed: bool) -> Migration:
    loops = {"train_cfg"} if mixed and _is_loop(tree.get("train_cfg")) else set()
    present = {key: tree.pop(key) for key in list(tree) if key in NEW_KEYS or key in loops}
    job = Job(tree, present)
    for what, step in _STEPS:
        _run(step, what, job)
    for key, value in present.items():
        if key in job.new:
            job.note(key, "the config has it beside the old keys.", "Its own value is kept, what was migrated is not.")
        job.new[key] = value
    kept = {key: value for key, value in job.old.items() if key not in job.new}
    if "default_scope" not in kept:
        job.note(
            "default_scope",
            "names of classes are looked up in the registries of one package today.",
            "Set default_scope to the package that has them, such as 'mmdet', and custom_imports to what registers "
            "the others.",
        )
    written = {key: job.new[key] for key in (*_ORDER, *job.new) if key in job.new}
    return Migration({**kept, **written}, job.notes, True)


def _run(step: Callable[[Job], Any], what: str, job: Job) -> None:
    try:
        step(job)
    except (TypeError, AttributeError, KeyError, ZeroDivisionError) as error:
        raise ConfigError(
            f"{what}: a value has a type, or a dict lacks a key, that MMCV 1.x could not have used either. "
            f"{type(error).__name__}: {error}"
        ) from error


# -- the run -----------------------------------------------------------------------------------------------------------
def _convert_model_cfgs(job: Job) -> None:
    """Before MMDetection 2.6 the train_cfg and test_cfg of the model stood beside it."""
    for key in ("train_cfg", "test_cfg"):
        value = job.old.get(key)
        if key not in job.old or _is_loop(value):
            continue
        model = job.old.get("model")
        value = job.take(key)
        if not isinstance(model, dict) or model.get(key) is not None:
            job.note(key, f"{short(value)} was the model's, which has one already or is no dict.", "Left out.")
        elif value is not None:
            model[key] = value


def _convert_runner(job: Job) -> None:
    runner = job.take_dict("runner") or {}
    epochs, iters = job.take("total_epochs"), job.take("total_iters")
    loop = job.present.get("train_cfg")
    if isinstance(loop, dict):  # a config between the two forms: the loop is today's
        runner = {"max_epochs": loop.get("max_epochs"), "max_iters": loop.get("max_iters")}
    kind = runner.pop("type", None)
    epochs, iters = runner.pop("max_epochs", epochs), runner.pop("max_iters", iters)
    job.by_epoch = kind in _EPOCH_RUNNERS or (kind not in _ITER_RUNNERS and iters is None)
    job.horizon = epochs if job.by_epoch else iters
    unit, other = ("max_epochs", iters) if job.by_epoch else ("max_iters", epochs)
    if other is not None:
        job.note("runner", f"it has a length in the other unit too ({other}).", f"{unit} is kept.")
    if kind is not None and kind not in (*_EPOCH_RUNNERS, *_ITER_RUNNERS):
        job.note("runner.type", f"{kind!r} is a runner of the config's own project.", "A usual loop takes its place.")
    elif kind in ("EpochBasedRunnerAmp", "IterBasedRunnerAmp"):
        job.note("runner.type", f"{kind!r} was for apex.", "See optim_wrapper for mixed precision.")
    if job.horizon is not None:
        job.new["train_cfg"] = {"by_epoch": job.by_epoch, unit: job.horizon}
    else:
        job.note("runner", "how long to train is not said.", f"Add train_cfg=dict(by_epoch=..., {unit}=...).")
    job.leftovers("runner", runner, "is no option of a training loop.", "Left out.")


def _convert_workflow(job: Job) -> None:
    workflow = job.take("workflow")
    if workflow and any(tuple(phase)[:1] != ("train",) for phase in workflow):
        job.note(
            "workflow",
            f"{short(workflow)} also computed losses on the validation data.",
            "A validation loop computes metrics; with val_cfg=dict(loss=True) the losses too.",
        )


def _convert_start(job: Job) -> None:
    """What to begin from."""
    given = {"load_from", "resume_from", "auto_resume"} & set(job.old)
    load_from, resume_from, auto = job.take("load_from"), job.take("resume_from"), job.take("auto_resume", False)
    if resume_from is not None and load_from is not None:
        job.note("load_from", f"{load_from!r} had no effect beside resume_from.", "Left out.")
    if "load_from" in given or resume_from is not None:
        job.new["load_from"] = load_from if resume_from is None else resume_from
    if len(given) > ("load_from" in given):
        job.new["resume"] = auto or resume_from is not None
    if auto and load_from is not None and resume_from is None:
        job.note(
            "auto_resume",
            f"load_from={load_from!r} would be resumed, where it only gave the weights of a first start.",
            "Load those in model.init_cfg, or start with resume=False.",
        )


def _convert_environment(job: Job) -> None:
    env: Tree = {}
    if "cudnn_benchmark" in job.old:
        env["cudnn_benchmark"] = bool(job.take("cudnn_benchmark"))
    processes = {key: job.take(key) for key in ("mp_start_method", "opencv_num_threads") if key in job.old}
    if processes:
        env["mp_cfg"] = processes
    if "dist_params" in job.old:
        env["dist_cfg"] = job.take("dist_params")
    for key in ("omp_num_threads", "mkl_num_threads"):
        if key in job.old:
            why = f"{job.take(key)} threads are set by the variable {key.upper()} of the environment."
            job.note(key, why, "Set it there.")
    if env:
        job.new["env_cfg"] = env
    renamed = {"seed": "seed", "deterministic": "deterministic", "diff_seed": "diff_rank_seed"}
    randomness = {new: job.take(old) for old, new in renamed.items() if old in job.old}
    if randomness:
        job.new["randomness"] = randomness


def _drop_devices(job: Job) -> None:
    for key in ("gpu_ids", "gpus", "device"):
        if job.take(key) not in (None, [], [0], range(1), 1, "cuda"):
            why = "which devices are used is said where processes are started."
            job.note(key, why, "Use CUDA_VISIBLE_DEVICES and the launcher.")


# What each step is about, for the message when it meets a value of a wrong type.
_STEPS: tuple[tuple[str, Callable[[Job], Any]], ...] = (
    ("train_cfg and test_cfg", _convert_model_cfgs),
    ("runner", _convert_runner),
    ("optimizer, optimizer_config and fp16", convert_optimizer),
    ("lr_config and momentum_config", convert_schedules),
    ("checkpoint_config", convert_checkpoint),
    ("log_config", convert_logging),
    ("data and evaluation", convert_data),
    ("custom_hooks", convert_custom_hooks),
    ("find_unused_parameters", convert_parallel),
    ("auto_scale_lr", scaled_batch),
    ("workflow", _convert_workflow),
    ("load_from and resume_from", _convert_start),
    ("cudnn_benchmark, dist_params, seed and the like", _convert_environment),
    ("gpu_ids and device", _drop_devices),
)


def _has(tree: Tree, keys: frozenset[str]) -> bool:
    return any(key in keys for key in tree)


def _is_loop(value: Any) -> bool:
    return isinstance(value, dict) and any(key in value for key in _LOOP_KEYS)


def _listed(keys: Any) -> str:
    names = sorted(map(str, keys))
    return ", ".join(names) if names else "there are none"
