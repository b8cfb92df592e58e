"""Saves that training does not wait for: the runner's side of them."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from trainwright.checkpoint.async_save import AsyncSaver, Job
from trainwright.checkpoint.layouts import name_in
from trainwright.dist import telling_of_gathered

STALL = "checkpoint/stall_s"
Settled = Callable[[BaseException | None, Any], None]


def raise_error(error: BaseException | None, result: Any) -> None:
    """What becomes of a save that nobody has an eye on."""
    if error is not None:
        raise error


def begin(
    runner: Any,
    out_dir: str,
    filename: str,
    follow: Callable[[], Any] = lambda: None,
    settled: Settled = raise_error,
    layout: str = "file",
    **settings: Any,
) -> str:
    """Copy the training state into the host's memory and have it written while training goes on; returns the path.

    The thread publishes it and calls ``follow``. When that is known here, at the latest in the next save, ``settled``
    gets the error or what ``follow`` returned; then after_save_checkpoint is fired. All ranks call this.
    """
    began = perf_counter()
    finish(runner)
    if runner._saver is None:
        runner._saver = AsyncSaver()
    saver: AsyncSaver = runner._saver
    manager = runner.checkpoints(out_dir)
    path = str(manager.folder / name_in(layout, filename))
    copies = saver.copies()
    runner.strategy.copies = copies
    try:
        with telling_of_gathered(copies.adopt):  # what rank 0 puts together for a file is not there twice
            tree = runner.training_tree(**settings, sharded=layout == "folder")
    finally:
        runner.strategy.copies = None
    tree = saver.snapshot(path, tree, copies)

    def work() -> Any:
        manager.save(filename, tree, layout)
        return follow()

    def tell(error: BaseException | None, result: Any) -> None:
        settled(error, result)
        if error is None:
            runner.call_hook("after_save_checkpoint", path=path)

    saver.begin(Job(path, work, tell))
    stalled = perf_counter() - began
    saver.stalls.append(stalled)
    prefix, _, name = STALL.partition("/")
    runner.ctx.metrics.put(prefix, {name: stalled})
    return path


def finish(runner: Any, timeout_s: float | None = None) -> bool:
    """Wait for the save in flight, and say what became of it."""
    saver: AsyncSaver | None = runner._saver
    return saver is None or saver.settle(timeout_s)


def close(runner: Any) -> None:
    """At the end of the work, whichever way it ends: what is in flight is published. The run may be failing already, so
    that it is no more than logged if this fails too."""
    saver: AsyncSaver | None = runner._saver
    if saver is None:
        return
    try:
        saver.settle()
    except Exception as error:  # noqa: BLE001 - the error that ends the run is the one to be raised
        runner.logger.error("a checkpoint was not saved in the background: %s: %s", type(error).__name__, error)
    saver.close()


def stalled_s(runner: Any) -> float | None:
    """For how long training stood still for saves since this was asked last; None where it did not."""
    saver: AsyncSaver | None = getattr(runner, "_saver", None)
    if saver is None or not saver.stalls:
        return None
    total = sum(saver.stalls)
    saver.stalls.clear()
    return total or None
