"""A training of a few batches that goes through every part and leaves nothing behind, to find out early what fails."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from typing import Any

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.engine.loops import EpochBasedTrainLoop, EvalLoop, TrainLoop, ValLoop, ValSchedule
from trainwright.hooks import CheckpointHook
from trainwright.strategies import BaseStrategy


def n_batches(value: Any) -> int:
    """How many batches ``fast_dev_run`` asks for; 0 where it is off."""
    if value is None or isinstance(value, bool):
        return int(bool(value))
    if not isinstance(value, int):
        raise ConfigTypeError(f"fast_dev_run must be True or a whole number of batches, but got {value!r}.")
    if value < 0:
        raise ConfigError(f"fast_dev_run must be at least 1, or False, but got {value}.")
    return value


def set_apart(runner: Any, specs: dict[str, Any]) -> None:
    """Let a runner with these arguments work in a folder that goes with it, write to no tracker and resume nothing.

    Weights that it would resume from are loaded.
    """
    if isinstance(specs["strategy"], BaseStrategy):
        raise ConfigError("fast_dev_run works in a folder of its own, and a built strategy has one already: give its "
                          "config, strategy=dict(type=...).")  # fmt: skip
    folder = tempfile.mkdtemp(prefix="trainwright_fast_dev_run_")
    weakref.finalize(runner, shutil.rmtree, folder, ignore_errors=True)
    specs["work_dir"] = folder
    visualizer = specs["visualizer"]
    local = [{"type": "LocalVisBackend"}]
    specs["visualizer"] = {**visualizer, "vis_backends": local} if isinstance(visualizer, dict) else None
    if isinstance(specs["resume"], str):
        specs["load_from"] = specs["resume"]
    specs["resume"] = False


def drop_savers(runner: Any) -> None:
    """Take the checkpoint hooks out."""
    table = runner.ctx.hooks
    table.hooks[:] = [hook for hook in table.hooks if not isinstance(hook, CheckpointHook)]
    table.rebuild()


def shorten(loop: Any, n: int) -> None:
    """Let a loop use `n` batches of each pass, and training validate after these."""
    if not isinstance(loop, (EvalLoop, TrainLoop)):
        raise ConfigError(
            f"fast_dev_run cannot shorten {type(loop).__name__}: derive it from one of the loops of trainwright.engine."
        )
    loop.limit_batches = n
    if isinstance(loop, ValLoop):
        loop.sanity_batches = 0
    if isinstance(loop, TrainLoop):
        loop.budget, loop.val_begin = None, 1
        loop.schedule = ValSchedule(1, 1 if isinstance(loop, EpochBasedTrainLoop) else n)
    if isinstance(loop, EpochBasedTrainLoop):
        loop.measure()


def end_soon(runner: Any) -> None:
    """Plan one epoch of so many batches. The schedules are made by now: theirs is the whole training's length."""
    clock = runner.ctx.clock
    clock.max_epochs = 1
    clock.max_iters = clock.epoch_length or runner.fast_dev_run
    runner.logger.info(
        "fast dev run: %s of training and of each validation set, no checkpoints, no trackers; nothing is kept",
        _batches(runner.fast_dev_run),
    )


def closing_message(runner: Any) -> str:
    """What has been tried."""
    n_val = None if runner.val_loop is None else runner.val_loop.pass_length
    done = f"{_batches(runner.iter)} of training"
    done += " without validation" if n_val is None else f" and {_batches(n_val)} of validation"
    return f"Fast dev run passed: {done}. Nothing was kept: no checkpoints, no scalars, no trackers, no work_dir."


def _batches(n: int) -> str:
    return f"{n} batch" if n == 1 else f"{n} batches"
