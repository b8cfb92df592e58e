"""``trainwright train``."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import typer

from trainwright.base.errors import ConfigError, Interrupted, MissingExtraError
from trainwright.cli.arguments import AUTO
from trainwright.cli.launching import Launching, command_name, launch_words, restarted, start_ranks, starts_ranks
from trainwright.cli.settings import load
from trainwright.config import Config


@dataclass(frozen=True)
class TrainOptions:
    """The options of the command."""

    config: str
    work_dir: str | None
    resume: str | None
    amp: bool
    auto_scale_lr: bool
    launcher: str
    cfg_options: list[str]
    profile_hooks: bool = False
    fast_dev_run: int | None = None
    trusted: bool = False


def train_config(options: TrainOptions, launching: Launching | None = None) -> int:
    """Train, then say what came of it: best metric, checkpoints, curves, how to resume. Returns the exit code: where
    other processes are started for it, that of their training."""
    cfg = _configured(options)
    launching = launching or Launching()
    if starts_ranks(options.launcher, launching):
        return start_ranks(options.launcher, launching, cfg, partial(_train_rank, options))
    _train_here(cfg, options)
    return 0


def _train_rank(options: TrainOptions) -> None:
    """In a process that calls this, since it was not started by a command line."""
    _train_here(_configured(options), options)


def _train_here(cfg: Config, options: TrainOptions) -> None:
    restarted(cfg)
    from trainwright.registry import RUNNERS
    from trainwright.runner import Runner
    from trainwright.runner.preemption import program

    with program((cfg.get("env_cfg") or {}).get("preemption")):
        _train(cfg, options, RUNNERS, Runner)


def _train(cfg: Config, options: TrainOptions, runners: Any, usual: Any) -> None:
    runner: Any = runners.build(cfg) if "runner_type" in cfg else usual.from_cfg(cfg)
    if options.profile_hooks:
        runner.profile_hooks()
    command = runner.resume_command = _resume_command(options, runner.work_dir)
    try:
        runner.train()
    except Interrupted as stop:
        if runner.fast_dev_run:
            raise
        if runner.rank == 0:
            _draw(runner)
        raise type(stop)(f"{stop}\nTo go on:  {command}", stop.checkpoint, stop.exit_code) from None
    if runner.rank == 0:
        typer.echo(_tried(runner, options) if runner.fast_dev_run else "\n".join(_summary(runner, options)))


def _configured(options: TrainOptions) -> Config:
    cfg = load(options.config, options.work_dir, options.launcher, options.cfg_options)
    if options.amp:
        wrapper = cfg.get("optim_wrapper")
        if not isinstance(wrapper, dict) or wrapper.get("type", "OptimWrapper") not in (
            "OptimWrapper",
            "AmpOptimWrapper",
        ):
            raise ConfigError("--amp turns an OptimWrapper into an AmpOptimWrapper, and this config has none.")
        wrapper["type"] = "AmpOptimWrapper"
        wrapper.setdefault("loss_scale", "dynamic")
    if options.auto_scale_lr:
        scale = cfg.get("auto_scale_lr")
        if not isinstance(scale, dict) or "base_batch_size" not in scale:
            raise ConfigError("--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in the config.")
        scale["enable"] = True
    if options.fast_dev_run is not None:
        if options.fast_dev_run < 1:
            raise ConfigError(f"--fast-dev-run must be at least 1 batch, but got {options.fast_dev_run}.")
        cfg.fast_dev_run = options.fast_dev_run
    if options.resume is not None:
        cfg.resume = True
        cfg.load_from = None if options.resume == AUTO else options.resume
    if options.trusted:
        cfg.trust_checkpoint = True
    return cfg


def _tried(runner: Any, options: TrainOptions) -> str:
    from trainwright.runner.fast_dev_run import closing_message

    words = ["trainwright", "train", options.config]
    return f"\n{closing_message(runner)}\nFor the whole training leave out --fast-dev-run:\n  {shlex.join(words)}"


def _summary(runner: Any, options: TrainOptions) -> list[str]:
    from trainwright.hooks import CheckpointHook

    lines = ["", f"Trained {runner.epoch} epochs, {runner.iter} iterations." if runner.by_epoch else ""]
    if not runner.by_epoch:
        lines = ["", f"Trained {runner.iter} iterations."]
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook):
            lines += [f"Best {b.metric}: {b.score:.4f}  ({b.path})" for b in hook.bests if b.score is not None]
            if hook.last_ckpt is not None:
                lines.append(f"Last checkpoint: {hook.last_ckpt}")
    lines.append(f"Log and scalars: {runner.log_dir}")
    curves = _draw(runner)
    if curves is not None:
        lines.append(f"Curves: {curves}")
    if getattr(runner.train_loop, "is_spent", False):
        lines.append(
            "To train on, raise max_duration and resume (a schedule with an end of its own keeps its last value):"
        )
        return [*lines, f"  {_resume_command(options, runner.work_dir, 'train_cfg.max_duration=...')}"]
    unit, planned = ("max_epochs", runner.max_epochs) if runner.by_epoch else ("max_iters", runner.max_iters)
    if planned is None or "type" in (runner.cfg.get("train_cfg") or {}):  # a loop of the user's: its settings are too
        return [*lines, "To train on, resume:", f"  {_resume_command(options, runner.work_dir)}"]
    lines.append(f"To train on, raise {unit} and resume (a schedule with an end of its own keeps its last value):")
    lines.append(f"  {_resume_command(options, runner.work_dir, f'train_cfg.{unit}={planned * 2}')}")
    return lines


def _draw(runner: Any) -> Path | None:
    """Draw ``work_dir/curves.png`` over all parts of this training; None when matplotlib is not installed."""
    from trainwright.visualization import draw_curves

    files = [Path(runner.work_dir) / part / "vis_data" / "scalars.json" for part in runner.log_dirs]
    files = [file for file in files if file.is_file()]
    if not files:
        return None
    try:
        return draw_curves(files, Path(runner.work_dir) / "curves.png", title=Path(runner.work_dir).name)
    except MissingExtraError as error:
        runner.logger.info("no curves were drawn: %s", error)
        return None


def _resume_command(options: TrainOptions, work_dir: str, extra: str | None = None) -> str:
    words = [command_name(), "train", options.config]
    words += ["--work-dir", os.path.relpath(work_dir), "--resume"]
    words += ["--amp"] * options.amp + ["--auto-scale-lr"] * options.auto_scale_lr
    words += ["--profile-hooks"] * options.profile_hooks + ["--trust-checkpoint"] * options.trusted
    words += ["--launcher", options.launcher, *launch_words()] if options.launcher != "none" else []
    overrides = list(options.cfg_options)
    if extra:
        key = extra.partition("=")[0]
        overrides = [*(item for item in overrides if item.partition("=")[0] != key), extra]
    words += ["--cfg-options", *overrides] if overrides else []
    return shlex.join(words)
