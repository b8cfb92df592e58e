"""Persistent workers of loaders that nobody closes."""

from __future__ import annotations

import gc
import multiprocessing

from trainwright.data import KeyedDataLoader


def test_persistent_workers_end_at_once_with_a_loader_that_is_garbage_in_a_cycle():
    loader = KeyedDataLoader(list(range(8)), batch_size=2, num_workers=2, persistent_workers=True)
    loader.itself = loader  # as a runner and its hooks refer to each other
    list(loader)
    workers = loader._iterator._workers
    del loader
    gc.collect()
    # Of those that were not told torch waits five seconds for each, and then kills it.
    assert [worker.exitcode for worker in workers] == [0, 0]


def test_a_forked_process_leaves_its_parents_workers_alone(capfd):
    loader = KeyedDataLoader(list(range(8)), batch_size=2, num_workers=1, persistent_workers=True)
    loader.itself = loader
    n_batches = len(list(loader))
    holder = [loader]

    def child() -> None:
        holder.clear()
        gc.collect()

    del loader
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert "can only test a child process" not in capfd.readouterr().err
    assert len(list(holder[0])) == n_batches
    holder[0].close()
