"""A run that stands still, on one rank or on all: it is said which rank, where and for how long, and the run ends."""

from __future__ import annotations

import faulthandler
import itertools
import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

from trainwright.base.errors import RankError
from trainwright.base.text import table
from trainwright.dist import get_dist_info, group_store
from trainwright.dist.pending import DEFAULT_GROUP
from trainwright.dist.rank_failure import tell
from trainwright.runner.stalled import heartbeat
from trainwright.runner.watchdog_cfg import WatchdogCfg

EXIT_CODE = 70
_numbers = itertools.count()
_LONGEST_POLL_S = 5.0
_HEADER = ("rank", "phase", "doing", "epoch", "iteration", "for", "at", "collective that it waits in")


@contextmanager
def watched(runner: Any) -> Iterator[None]:
    """Within it a run of several processes that makes no progress is reported, and ended: see WatchdogCfg."""
    cfg = WatchdogCfg.from_cfg(runner.strategy.watchdog)
    if not runner.distributed or get_dist_info()[1] == 1 or cfg.action == "off":
        yield
        return
    watchdog = Watchdog(runner, cfg)
    try:
        yield
    finally:
        watchdog.close()


class Watchdog:
    """A thread that compares, every few seconds, the counters of the run with what they were.

    Iterations pay nothing for it: it reads fields that are there. Nothing is written to the store before a rank stands
    still; then that rank asks, and the watchdogs of all ranks answer with a heartbeat each, of which it makes a table.
    """

    def __init__(self, runner: Any, cfg: WatchdogCfg) -> None:
        number = next(_numbers)  # the same on all ranks, which run the same program
        self._key = f"trainwright/watchdog/{number}"
        self._runner, self._cfg = runner, cfg
        self._store = group_store()
        self._rank, self._world_size = get_dist_info()
        self._main = threading.get_ident()
        self._poll_s = min(_LONGEST_POLL_S, cfg.timeout_s / 4, cfg.first_timeout_s / 4)
        self._n_answered, self._answered_at = 0, 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="trainwright-watchdog", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join()

    def _progress(self) -> tuple[Any, ...]:
        ctx = self._runner.ctx
        return ctx.clock.iter, ctx.clock.epoch, ctx.data_time_s  # the last one is another after each batch

    def _watch(self) -> None:
        seen, since, begun, reported = self._progress(), monotonic(), False, False
        try:
            while not self._over.wait(self._poll_s):
                now = self._progress()
                if now != seen:
                    # A batch that was waited for is not yet an iteration: the first step may compile.
                    begun = begun or now[0] != seen[0] or (seen[2] != 0.0 and now[2] != seen[2])
                    seen, since, reported = now, monotonic(), False
                limit = self._cfg.timeout_s if begun else self._cfg.first_timeout_s
                if monotonic() - since >= limit and not reported:
                    reported = True
                    self._report(since)
                self._answer(since)
        except RuntimeError:  # the store is gone with rank 0: failing_together says so
            return

    # -- asking and answering ----------------------------------------------------------------------------------------
    def _answer(self, since: float) -> None:
        """Tell where this rank is, once for each time that somebody asked."""
        n_asked = self._store.add(f"{self._key}/asked", 0)
        if n_asked <= self._n_answered:
            return
        self._n_answered, self._answered_at = n_asked, monotonic()
        own, _ = heartbeat(self._runner, self._main, since)
        self._store.set(f"{self._key}/{n_asked}/{self._rank}", json.dumps(own.as_dict()))

    def _ask(self, since: float) -> dict[int, dict[str, Any]]:
        """The heartbeats of the ranks that answer in time; those that are asked already are not asked again."""
        n_asked = self._n_answered
        if not n_asked or monotonic() - self._answered_at > 2 * self._poll_s:
            n_asked += 1
            first = self._store.compare_set(f"{self._key}/{n_asked}/first", "", str(self._rank)).decode()
            if first == str(self._rank):
                self._store.add(f"{self._key}/asked", 1)
        keys = {rank: f"{self._key}/{n_asked}/{rank}" for rank in range(self._world_size)}
        found: dict[int, dict[str, Any]] = {}
        end = monotonic() + 3 * _LONGEST_POLL_S
        while len(found) < len(keys) and monotonic() < end and not self._over.is_set():
            self._answer(since)
            for rank, key in keys.items():
                if rank not in found and self._store.check([key]):
                    found[rank] = json.loads(self._store.get(key))
            if len(found) < len(keys):
                self._over.wait(0.05)
        return found

    # -- reporting ---------------------------------------------------------------------------------------------------
    def _report(self, since: float) -> None:
        own, collectives = heartbeat(self._runner, self._main, since)
        try:
            beats = self._ask(since)
        except RuntimeError:  # rank 0 is gone, and the store with it
            beats = {}
        if self._over.is_set():
            return
        beats.setdefault(self._rank, own.as_dict())
        verdict = culprit(beats, self._world_size)
        waits = f", in {own.pending}" if own.pending else ""
        line = (
            f"rank {self._rank} stands still: {own.where}, {own.phase}, epoch {own.epoch}, iteration {own.iter}, for "
            f"{own.for_s:.0f} s{waits}. {verdict}"
        )
        text = f"{line}\n{overview(beats, self._world_size)}"
        path = self._write(text, collectives.text)
        full = f"{text}\nStacks of all threads and the flight recorder: {path}\n"
        # Not through the logger, whose lock the thread that stands still may hold. The table is shown once.
        sys.stderr.write(full if self._rank == min(beats) else f"{line}\n")
        sys.stderr.flush()
        if self._cfg.action == "abort":
            tell(RankError(full))
            self._let_others_report(len(beats))
            os._exit(EXIT_CODE)

    def _let_others_report(self, n_alive: int) -> None:
        """The store may end with this process, and the connections on which the others wait do: they report first."""
        with suppress(RuntimeError):
            n_done = self._store.add(f"{self._key}/reported", 1)
            end = monotonic() + 2 * self._poll_s
            while n_done < n_alive and monotonic() < end:
                self._over.wait(0.05)
                n_done = self._store.add(f"{self._key}/reported", 0)

    def _write(self, text: str, trace: str) -> str:
        folder = os.path.join(self._runner.strategy.log_dir, "hangs")
        path = os.path.join(folder, f"rank_{self._rank}.txt")
        with suppress(OSError):  # what is said on the console counts more
            os.makedirs(folder, exist_ok=True)
            with open(path, "a", encoding="utf-8") as file:
                file.write(f"{text}\n\n")
                file.flush()
                faulthandler.dump_traceback(file, all_threads=True)
            with open(os.path.join(folder, f"rank_{self._rank}_collectives.json"), "w", encoding="utf-8") as file:
                file.write(trace)
        return path


def overview(beats: Mapping[int, Mapping[str, Any]], world_size: int) -> str:
    """A table with a line a rank."""
    rows: list[Sequence[object]] = []
    for rank in range(world_size):
        beat = beats.get(rank)
        if beat is None:
            rows.append((rank, "no answer", *["-"] * (len(_HEADER) - 2)))
            continue
        names = ("phase", "where", "epoch", "iter")
        rows.append(
            (rank, *(beat[name] for name in names), f"{beat['for_s']:.0f} s", beat["at"], beat["pending"] or "-")
        )
    return table(rows, _HEADER)


def culprit(beats: Mapping[int, Mapping[str, Any]], world_size: int) -> str:
    """Which ranks the others wait for, as a sentence: those that are gone, or have not begun what the others are in."""
    gone = [rank for rank in range(world_size) if rank not in beats]
    if gone:
        return f"{_ranks(gone)} did not answer: the process is gone, or a call in it does not let other threads run."
    waiting = {rank: beat for rank, beat in beats.items() if beat["pending"]}
    if not waiting:
        return "No rank waits in a collective: each stands still by itself."
    newest = {rank: int(beat["newest"].get(DEFAULT_GROUP, 0)) for rank, beat in beats.items()}
    behind = [rank for rank, number in newest.items() if number < max(newest.values())]
    if behind:
        what = ", ".join(f"rank {rank} is at {beats[rank]['at']} ({beats[rank]['where']})" for rank in behind[:3])
        have = "has" if len(behind) == 1 else "have"
        return f"The others wait for {_ranks(behind)}, which {have} not come to that collective: {what}."
    if len(waiting) < len(beats):
        rest = [rank for rank in beats if rank not in waiting]
        wait = "waits" if len(rest) == 1 else "wait"
        return f"The others wait for {_ranks(rest)}, which {wait} in no collective."
    different = {beat["pending"].partition(" ")[0] for beat in waiting.values()}
    if len(different) > 1:
        return "The ranks wait in different collectives: they do not do the same work in the same order."
    return "All ranks wait in the same collective: the connection between them may be broken."


def _ranks(ranks: Sequence[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
