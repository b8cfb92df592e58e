"""Real gloo ranks for tests: forked, so nothing is imported again and any function will do."""

from __future__ import annotations

import faulthandler
import gc
import multiprocessing
import os
import pickle
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch
from torch import distributed as torch_dist

R = TypeVar("R")
_SHOW = signal.SIGURG  # which nobody handles, and which does nothing to a process that does not


def run_ranks(world_size: int, func: Callable[..., R], *args: Any, timeout_s: float = 60.0) -> list[R]:
    """``func(*args)`` in `world_size` processes that form a gloo group; what each returned, in rank order.

    Results may hold tensors; they are copied. An error is raised here as an AssertionError, with the rank that failed
    first, its traceback, and the last lines of the others that failed with it; all processes have ended then. Nobody
    waits longer than `timeout_s` for a result: a TimeoutError then shows where in the code each rank is.
    """
    return _run(world_size, True, func, args, timeout_s)


def run_alone(func: Callable[..., R], *args: Any, timeout_s: float = 60.0) -> R:
    """``func(*args)`` in one process of its own, without a process group; otherwise as :func:`run_ranks`."""
    return _run(1, False, func, args, timeout_s)[0]


def _run(world_size: int, in_group: bool, func: Callable[..., R], args: tuple[Any, ...], timeout_s: float) -> list[R]:
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        store = os.path.join(folder, "store") if in_group else ""
        processes, pipes = [], []
        for rank in range(world_size):
            receiver, sender = context.Pipe(duplex=False)
            stack = os.path.join(folder, f"stack{rank}")
            process = context.Process(target=_rank_main, args=(rank, world_size, store, stack, sender, func, args))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on: forking a process with threads
                process.start()
            sender.close()
            processes.append(process)
            pipes.append(receiver)
        try:
            return _collect(pipes, timeout_s)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{_stacks(processes, folder)}") from None
        finally:
            for process in processes:
                process.join(2)
                if process.is_alive():
                    process.kill()
                    process.join()
                process.close()
            for pipe in pipes:
                pipe.close()


def _collect(pipes: list[Connection], timeout_s: float) -> list[Any]:
    results: list[Any] = [None] * len(pipes)
    waiting = list(pipes)
    failures: list[tuple[float, int, str]] = []
    while waiting:
        ready = wait(waiting, timeout_s)
        if not ready and failures:
            break
        if not ready:
            raise TimeoutError(f"ranks {[pipes.index(p) for p in waiting]} gave no result within {timeout_s} s")
        for pipe in ready:
            assert isinstance(pipe, Connection)
            rank = pipes.index(pipe)
            try:
                failed_at, error, results[rank] = pipe.recv()
            except EOFError:
                failed_at, error = time.monotonic(), "it ended without a result"
            waiting.remove(pipe)
            if error:
                failures.append((failed_at, rank, error))
                timeout_s = min(timeout_s, 1.0)  # the others may have failed before, or do so because of it
    if failures:
        (_, rank, error), *others = sorted(failures)
        also = "".join(f"\nrank {n} after it: {text.strip().splitlines()[-1]}" for _, n, text in others)
        raise AssertionError(f"rank {rank} failed:\n{error}{also}")
    return results


def _stacks(processes: Sequence[BaseProcess], folder: str) -> str:
    """Where the processes that live are: their threads' stacks, which they write when they get the signal."""
    texts = []
    for rank, process in enumerate(processes):
        path = os.path.join(folder, f"stack{rank}")
        if process.is_alive() and process.pid and os.path.exists(path):
            os.kill(process.pid, _SHOW)
            process.join(0.5)  # it goes on, and has written by then
            with open(path, encoding="utf-8", errors="replace") as file:
                texts.append(f"rank {rank} is here:\n{file.read() or 'in a call that takes no signals'}")
    return "\n".join(texts)


def _rank_main(
    rank: int,
    world_size: int,
    store: str,
    stack: str,
    sender: Connection,
    func: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    # What lies in the parent's garbage is not to be ended here: a process group would wait for threads of the parent.
    gc.freeze()
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    shown = open(stack, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    faulthandler.register(_SHOW, file=shown)
    try:
        if store:
            os.environ.update(RANK=str(rank), WORLD_SIZE=str(world_size), LOCAL_RANK=str(rank))
            torch_dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=world_size)
            # A rank that has nothing to do with the others could be gone before they have connected to it.
            torch_dist.barrier()
        # Pickled here: torch's own way of sending a tensor needs this process to live on.
        sender.send_bytes(pickle.dumps((0.0, "", func(*args))))
        if torch_dist.is_initialized():
            torch_dist.destroy_process_group()
    except BaseException:  # noqa: BLE001 - handed to the parent, which raises it
        sender.send((time.monotonic(), traceback.format_exc(), None))
    finally:
        sender.close()
        os._exit(0)  # neither pytest's nor the parent's exit handlers
