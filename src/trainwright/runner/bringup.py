"""The one order in which a training is brought up and taken down."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from trainwright.base.errors import ConfigError, Interrupted, Preempted
from trainwright.base.instances import ManagerMixin
from trainwright.checkpoint.run_lock import RunLock
from trainwright.dist import all_gather_object, barrier, failing_together
from trainwright.engine import priority_name
from trainwright.engine.core import training_by_hand
from trainwright.hooks import CheckpointHook
from trainwright.io import remote_of
from trainwright.io.remote_run import RemoteRun
from trainwright.model import turn_on_activation_checkpointing, turn_on_efficient_conv_bn_eval
from trainwright.registry import DefaultScope
from trainwright.runner import background_saves
from trainwright.runner.fast_dev_run import end_soon
from trainwright.runner.places import placed
from trainwright.runner.preemption import sigint_sets
from trainwright.runner.progress import live_progress
from trainwright.runner.spec import SURGERY_KEYS
from trainwright.runner.watchdog import watched
from trainwright.state import StopFlag, rng


@contextmanager
def scoped(runner: Any) -> Iterator[None]:
    """Registries look in the runner's scope, and its message hub, logger and visualizer are the current ones. An error
    of something that is built from the config says where that stands.
    """
    with ExitStack() as stack:
        stack.enter_context(placed(runner.cfg, runner._configs))
        stack.enter_context(DefaultScope.overwrite_default_scope(runner._scope))
        stack.enter_context(runner.ctx)
        stack.enter_context(runner.logger.as_current())
        visualizer = getattr(runner, "visualizer", None)  # not yet there while the runner is being made
        if isinstance(visualizer, ManagerMixin):
            stack.enter_context(visualizer.as_current())
        yield


@contextmanager
def together(runner: Any) -> Iterator[None]:
    """A part of a run that is over when it is on all ranks; what fails on one fails on all."""
    if not runner.strategy.distributed:  # Runner's own is there later than this is needed
        yield
        return
    with failing_together():
        yield
        barrier()


@contextmanager
def closing(runner: Any) -> Iterator[None]:
    """Writers and log file are closed when the work ends, whichever way; more work opens them again. What the hooks
    cost is said before, where it was measured. What fails or hangs on one rank ends the work of all."""
    try:
        with together(runner), watched(runner):
            yield
            runner.finish_saves()
    finally:
        background_saves.close(runner)
        if runner.ctx.hooks.profile is not None and runner.rank == 0:
            runner.logger.info("%s", runner.ctx.hooks.profile.report())
        runner.visualizer.close()
        for remote in _remotes(runner):
            remote.flush()
            remote.uploads.close()
        runner.logger.close_files()


@contextmanager
def sole_run(runner: Any) -> Iterator[None]:
    """No other run works in ``work_dir``, or in the folder of a CheckpointHook: WorkDirLockedError where one does."""
    if not runner._is_written:
        yield
        return
    with ExitStack() as stack:
        with together(runner):
            stack.enter_context(RunLock(runner.work_dir))
        remote = remote_of(runner.work_dir)
        if remote is not None:
            runner.logger.info(
                "work_dir is %s: %s stands in for it, and is uploaded from there. The lock against a second run holds "
                "on this machine only",
                remote.url,
                runner.work_dir,
            )
        try:
            yield
        finally:
            for hook in runner.hooks:
                if isinstance(hook, CheckpointHook):
                    hook.unlock()


def _remotes(runner: Any) -> list[RemoteRun]:
    """The storages that a run writes to."""
    if runner.rank != 0:
        return []
    folders = dict.fromkeys([os.path.abspath(runner.work_dir), *runner._managers])
    return [remote for remote in map(remote_of, folders) if remote is not None]


def log_start(runner: Any) -> None:
    """Say what runs where, and with which hooks; the config goes to the log file's folder."""
    strategy = runner.strategy
    n_weights = sum(p.numel() for p in strategy.unwrapped_model.parameters())
    runner.logger.info(
        "%s, %s parameters, on %s with torch %s, %d threads; seed %d; work_dir %s",
        runner.model_name,
        f"{n_weights:,}",
        strategy.device,
        torch.__version__,
        torch.get_num_threads(),
        strategy.seed,
        strategy.work_dir,
    )
    if runner.world_size > 1:
        runner.logger.info("%d processes, %s", runner.world_size, type(strategy).__name__)
    if runner.cfg.get("model_wrapper_cfg") is not None and not runner.distributed:
        runner.logger.info("model_wrapper_cfg has no effect with one process")
    for warning in runner._warnings:
        runner.logger.warning("%s", warning)
    names = ", ".join(f"{type(hook).__name__} ({priority_name(hook.priority)})" for hook in runner.hooks)
    runner.logger.info("hooks in order: %s", names or "none")
    runner.logger.debug("hooks by event:\n%s", runner.get_hooks_info())


def build_training(runner: Any) -> None:
    """Training loop, optimizer wrapper and schedulers, as far as they are not there yet: a resume puts state into them.

    A wrapper or schedulers that the user assigned to the runner are taken as they are.
    """
    strategy, spec, own = runner.strategy, runner._specs, runner._optim_wrapper
    runner._tell_length()
    if own is None or own is not getattr(strategy, "optim_wrapper", None):
        with placed(runner.cfg, {"optim_wrapper": spec["optim_wrapper"]}):
            runner.optim_wrapper = strategy.attach_optim_wrapper(spec["optim_wrapper"] if own is None else own)
        strategy.scale_lr()
    _watch_gradients(runner)
    wished = runner.param_schedulers
    if wished is not None and wished is not getattr(strategy, "param_schedulers", None):
        with placed(runner.cfg, {"param_scheduler": spec["param_scheduler"]}):
            runner.param_schedulers = strategy.attach_schedulers(wished)


def prepare_training(runner: Any) -> None:
    """Loops, optimizer, schedulers, weights, checkpoint, compile: everything up to the first event of training.

    BEFORE_RUN comes before loading, so that hooks which prepare for a loaded state (EMA) can. Weights are initialised
    and loaded the first time only: a second train() goes on from where the first one ended.
    """
    strategy, clock = runner.strategy, runner.ctx.clock
    build_training(runner)
    strategy.check_hooks(runner.hooks)
    _agree_on_length(runner)
    if runner.fast_dev_run:
        end_soon(runner)
    _ = runner.val_loop
    runner.call_hook("before_run")
    if not runner._has_loaded:
        strategy.init_model_weights()
        _change_model(runner)
        runner.load_or_resume()
        runner._has_loaded = True
    if clock.max_iters is not None and clock.iter >= clock.max_iters:
        runner.logger.info(
            "nothing is left to train: iteration %d of %d; raise %s to train on",
            clock.iter,
            clock.max_iters,
            "max_epochs" if runner.by_epoch else "max_iters",
        )
    runner.optim_wrapper.initialize_count_status(strategy.unwrapped_model, clock.iter, clock.max_iters or -1)
    runner.ctx.stop.may_interrupt = lambda: (
        all(_holds_no_gradients(wrapper) for wrapper in strategy._wrappers())
        and not runner.preemption.lets_validation_end()
    )
    strategy.compile(runner._specs["compile"])


def _agree_on_length(runner: Any) -> None:
    """Refuse epochs that are of another length on another rank: the longer ones would wait for ever."""
    if not runner.distributed or not runner.by_epoch:
        return
    lengths = all_gather_object(getattr(runner.train_loop, "pass_length", None))
    if len(set(lengths) - {None}) > 1:
        by_rank = ", ".join(f"{length} on rank {rank}" for rank, length in enumerate(lengths))
        raise ConfigError(
            f"the training loader has not the same number of batches on all ranks ({by_rank}): those with more would "
            "wait for the others at the end of the epoch. A sampler must give each rank as many samples, as "
            "DefaultSampler does; or set train_cfg.limit_batches to the smallest number."
        )


def _change_model(runner: Any) -> None:
    """What the config says of the forward of parts of the model."""
    model = runner.strategy.unwrapped_model
    for key, turn_on in zip(
        SURGERY_KEYS, (turn_on_activation_checkpointing, turn_on_efficient_conv_bn_eval), strict=True
    ):
        modules = runner.cfg.get(key)
        if modules is not None:
            with placed(runner.cfg, {key: modules}):
                turn_on(model, modules)
            runner.logger.info("%s is on for %s", key, modules)


def _watch_gradients(runner: Any) -> None:
    """Gradient norms of clipping go to the metrics, on the device."""
    metrics = runner.ctx.metrics
    for wrapper in runner.strategy._wrappers():
        wrapper.on_grad_norm = lambda norm: metrics.put("train", {"grad_norm": norm})


def _holds_no_gradients(wrapper: Any) -> bool:
    """Whether an accumulation window has just ended: inside one every process holds gradients of its own."""
    return not getattr(wrapper, "inner_count", 0) or bool(wrapper.should_update())


def run_training(runner: Any) -> None:
    """The loop, with signals turned into a stop flag; an interrupted run is saved and Interrupted is raised."""
    stop: StopFlag = runner.ctx.stop
    runner.preemption.refuse_to_begin()
    if runner._pending_streams is not None:
        rng.restore(runner._pending_streams)
        runner._pending_streams = None
    loop = runner.train_loop
    with sigint_sets(stop), live_progress(runner), training_by_hand(runner.ctx):
        loop.run()
    runner.preemption.stage = "saves in the background"
    runner.finish_saves()
    runner.preemption.stage = "the checkpoint"
    path = _save_interrupted(runner) if stop.interrupts and not runner.fast_dev_run else None
    runner.preemption.stage = "saves in the background"
    runner.finish_saves()
    runner.preemption.stage = "the hooks' after_run"
    runner.call_hook("after_run")
    if stop.returns:
        stop.clear()
    elif path is not None:
        raise _interruption(runner, path)
    elif stop.interrupts and runner.fast_dev_run:
        raise Interrupted(f"the fast dev run was stopped ({stop.reason}); it keeps nothing.")


def _interruption(runner: Any, path: str) -> Interrupted:
    stop: StopFlag = runner.ctx.stop
    text = f"training was stopped ({stop.reason}) after iteration {runner.iter} and saved to {path}."
    if stop.requeues:
        return Preempted(text, path, runner.preemption.cfg.exit_code)
    return Interrupted(text, path)


def _save_interrupted(runner: Any) -> str:
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook):
            return hook.save_now(runner)
    name = f"iter_{runner.ctx.clock.as_completed().iter}.pth"
    path = str(runner.save_checkpoint(runner.work_dir, name))
    runner.checkpoints().point_to(path)
    return path
