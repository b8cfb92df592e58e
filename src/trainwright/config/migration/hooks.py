"""`checkpoint_config`, `log_config` and `custom_hooks` of MMCV 1.x as hooks, writers and a log processor."""

from __future__ import annotations

from typing import Any

from trainwright.config.migration.job import Job, Tree, moved, short

_CHECKPOINT_OPTIONS = (
    "interval",
    "by_epoch",
    "save_optimizer",
    "out_dir",
    "max_keep_ckpts",
    "save_last",
    "filename_tmpl",
)
_TEXT_OPTIONS = ("ignore_last", "interval_exp_name", "out_dir", "out_suffix", "keep_local")
# Old writer -> (writer today, options that both have).
_WRITERS: dict[str, tuple[str, dict[str, str]]] = {
    "TensorboardLoggerHook": ("TensorboardVisBackend", {"log_dir": "save_dir"}),
    "WandbLoggerHook": ("WandbVisBackend", {"init_kwargs": "init_kwargs", "commit": "commit"}),
    "MMDetWandbHook": ("WandbVisBackend", {"init_kwargs": "init_kwargs"}),
    "MMClsWandbHook": ("WandbVisBackend", {"init_kwargs": "init_kwargs"}),
    "MMSegWandbHook": ("WandbVisBackend", {"init_kwargs": "init_kwargs"}),
    "MlflowLoggerHook": ("MLflowVisBackend", {"exp_name": "exp_name", "tags": "tags"}),
    "NeptuneLoggerHook": ("NeptuneVisBackend", {"init_kwargs": "init_kwargs"}),
    "ClearMLLoggerHook": ("ClearMLVisBackend", {"init_kwargs": "init_kwargs"}),
    "DvcliveLoggerHook": ("DVCLiveVisBackend", {"path": "save_dir"}),
}
_DEFAULT_HOOKS = {"IterTimerHook": "timer", "DistSamplerSeedHook": "sampler_seed"}
_FILE_CLIENT = "file_client_args"


def convert_checkpoint(job: Job) -> None:
    """Take `checkpoint_config`; put `default_hooks.checkpoint`."""
    if "checkpoint_config" not in job.old:
        return
    options = job.take("checkpoint_config")
    if options is None:
        job.section("default_hooks")["checkpoint"] = None
        return
    if not isinstance(options, dict):
        job.note("checkpoint_config", f"it is {short(options)}, and a dict is expected.", "Left out.")
        return
    options.pop("type", None)
    hook = {"type": "CheckpointHook", "by_epoch": job.by_epoch, **moved(options, _CHECKPOINT_OPTIONS)}
    if hook["by_epoch"] == job.by_epoch and job.by_epoch:
        del hook["by_epoch"]
    if options.pop("sync_buffer", False):
        job.new.setdefault("custom_hooks", []).append({"type": "SyncBuffersHook"})
    if options.get(_FILE_CLIENT) is not None:
        hook["backend_args"] = options[_FILE_CLIENT]
    options.pop(_FILE_CLIENT, None)
    options.pop("meta", None)  # the programs' own entries (versions, class names); runs write theirs
    options.pop("create_symlink", None)  # latest.pth; a text file names the newest checkpoint today
    job.leftovers("checkpoint_config", options, "is no option of CheckpointHook.", "Left out.")
    job.section("default_hooks")["checkpoint"] = hook


def convert_logging(job: Job) -> None:
    """Take `log_config`; put `default_hooks.logger`, `log_processor` and, for writers, `visualizer`."""
    config = job.take_dict("log_config")
    if config is None:
        return
    interval = config.pop("interval", 10)
    logger: Tree = {"type": "LoggerHook", "interval": interval}
    writers: list[Tree] = []
    for item in config.pop("hooks", None) or []:
        options = dict(item) if isinstance(item, dict) else {"type": item}
        kind = str(options.pop("type", ""))
        own_interval, by_epoch = options.pop("interval", interval), options.pop("by_epoch", job.by_epoch)
        if kind in ("TextLoggerHook", "") or kind.endswith("TextLoggerHook"):
            logger |= {"interval": own_interval, **_text_options(job, kind, options)}
        else:
            _writer(job, kind, options, writers)
            if own_interval != interval:
                why = f"{kind} wrote every {own_interval} iterations; all writers have the interval of LoggerHook."
                job.note("log_config.hooks", why)
        if by_epoch != job.by_epoch:
            why = f"{kind} counted {'epochs' if by_epoch else 'iterations'}; lines count in the unit of the training."
            job.note("log_config.hooks", why)
    job.section("default_hooks")["logger"] = logger
    # A line had the means since the last one.
    job.new["log_processor"] = {"type": "LogProcessor", "window_size": logger["interval"], "by_epoch": job.by_epoch}
    if writers:
        backends = [{"type": "LocalVisBackend"}, *writers]
        job.new["visualizer"] = {"type": "Visualizer", "vis_backends": backends, "name": "visualizer"}
    job.leftovers("log_config", config, "is no option of log_config that is known here.", "Left out.")


def _text_options(job: Job, kind: str, options: Tree) -> Tree:
    taken = moved(options, _TEXT_OPTIONS)
    if options.get(_FILE_CLIENT) is not None:
        taken["backend_args"] = options[_FILE_CLIENT]
    for name in (_FILE_CLIENT, "reset_flag"):
        options.pop(name, None)
    job.leftovers("log_config.hooks", options, f"is no option of {kind} that LoggerHook has.", "Left out.")
    return taken


def _writer(job: Job, kind: str, options: Tree, writers: list[Tree]) -> None:
    if kind not in _WRITERS:
        job.note(
            "log_config.hooks",
            f"there is no writer that answers to {kind!r}.",
            "Left out; see visualizer.vis_backends.",
        )
        return
    name, known = _WRITERS[kind]
    writers.append({"type": name, **moved(options, known)})
    for option in ("ignore_last", "reset_flag"):
        options.pop(option, None)
    job.leftovers(f"log_config.hooks.{kind}", options, f"is no option of {name}.", "Left out.")


def convert_custom_hooks(job: Job) -> None:
    """Take `custom_hooks` and the other hooks by key; put those that are still needed."""
    hooks = job.take("custom_hooks", None) or []
    kept: list[Any] = job.new.setdefault("custom_hooks", [])
    for hook in hooks if isinstance(hooks, (list, tuple)) else [hooks]:
        name = hook.get("type") if isinstance(hook, dict) else None
        if name in _DEFAULT_HOOKS:
            continue  # every run has it
        convert = _CONVERT.get(name) if isinstance(name, str) else None
        kept.append(convert(job, {**hook}) if convert is not None else hook)
    timer = job.take("timer_config", None)
    if isinstance(timer, dict) and timer.get("type") != "IterTimerHook":
        job.section("default_hooks")["timer"] = timer
    profiler = job.take_dict("profiler_config")
    if profiler is not None:
        kept.append({"type": "ProfilerHook", **profiler})
    if not kept:
        del job.new["custom_hooks"]


def _ema(job: Job, hook: Tree) -> Tree:
    """The running mean of the parameters; buffers were not averaged but taken from the model, as by default today."""
    interval = hook.pop("interval", 1)
    momentum = hook.pop("momentum", 0.0002) ** interval  # the old hook really took this power
    warm_up = hook.pop("warm_up", 100)
    if momentum > 1 / warm_up:
        job.note(
            "custom_hooks.EMAHook.warm_up",
            f"the first momenta were (1 + i) / ({warm_up} + i) until that exceeded {momentum:g}.",
            "They are constant today.",
        )
    if hook.pop("resume_from", None) is not None:
        job.note("custom_hooks.EMAHook.resume_from", "the averages are in the checkpoint that is resumed.", "Left out.")
    return _averaged(job, hook, "ExponentialMovingAverage", momentum, interval)


def _exp_ema(job: Job, hook: Tree) -> Tree:
    interval = hook.pop("interval", 1)
    momentum = hook.pop("momentum", 0.0002)
    hook["gamma"] = hook.pop("total_iter", 2000)
    hook["update_buffers"] = not hook.pop("skip_buffers", False)
    hook.pop("resume_from", None)
    return _averaged(job, hook, "ExpMomentumEMA", momentum, interval)


def _averaged(job: Job, hook: Tree, ema: str, momentum: float, interval: int) -> Tree:
    hook.pop("type")
    every = {"interval": interval} if interval != 1 else {}
    return {"type": "EMAHook", "ema_type": ema, "momentum": momentum, **every, **hook}


def _linear_ema(job: Job, hook: Tree) -> Tree:
    job.note(
        "custom_hooks.LinearMomentumEMAHook",
        "its growing momentum has no counterpart of the same values.",
        "Replaced by the constant one it ends at.",
    )
    hook.pop("warm_up", None)
    hook["update_buffers"] = not hook.pop("skip_buffers", False)
    hook.pop("resume_from", None)
    return _averaged(job, hook, "ExponentialMovingAverage", hook.pop("momentum", 0.0002), hook.pop("interval", 1))


def _random_size(job: Job, hook: Tree) -> Tree:
    job.note(
        "custom_hooks.SyncRandomSizeHook",
        "the model's data_preprocessor changes the size of batches today.",
        f"Move {short(hook)} into model.data_preprocessor.batch_augments.",
    )
    return hook


_CONVERT = {
    "EMAHook": _ema,
    "ExpMomentumEMAHook": _exp_ema,
    "LinearMomentumEMAHook": _linear_ema,
    "SyncRandomSizeHook": _random_size,
}
