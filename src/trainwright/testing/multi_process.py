"""A test case whose test runs in several processes at once, each started anew.

`trainwright.testing.ranks.run_ranks` is simpler, and faster: it forks, and gives back what a function returned. This
one is for test cases as MMEngine and PyTorch write them.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import MethodType
from typing import Any, NamedTuple, cast
from unittest import SkipTest, TestCase

from torch import multiprocessing

logger = logging.getLogger(__name__)


class TestSkip(NamedTuple):
    """The exit code by which a process says that the test is to be skipped, and the reason."""

    exit_code: int
    message: str


TEST_SKIPS = {
    "backend_unavailable": TestSkip(10, "the distributed backend is not available"),
    "no_cuda": TestSkip(11, "CUDA is not available"),
    "multi-gpu-2": TestSkip(12, "needs two CUDA devices"),
    "generic": TestSkip(13, "skipped in its processes; their output has the reason"),
}


class MultiProcessTestCase(TestCase):
    """Runs its test in `world_size` processes, and passes when it passes in each of them.

    A subclass calls ``self._spawn_processes()`` at the end of its `setUp`. In each process the test finds its number in
    `rank`, and in `file_name` an empty file that all have, for a store; `setUp` does not run there, and
    `prepare_subprocess` does. The process that started them has `MAIN_PROCESS_RANK` and only waits, `timeout` seconds
    at most. When one fails the others are ended, and its traceback is in the error; when the time is over, what each
    was doing.
    """

    MAIN_PROCESS_RANK = -1
    TEST_ERROR_EXIT_CODE = 10  # not 0 and not 1: a test may exit with those

    @property
    def world_size(self) -> int:
        """How many processes there are."""
        return 2

    @property
    def timeout(self) -> float:
        """How many seconds a test may take."""
        return 1000

    @property
    def is_master(self) -> bool:
        """Whether this is the first of the processes."""
        return self.rank == 0

    @property
    def is_starter(self) -> bool:
        """Whether this is none of the processes, but the one that starts them."""
        return self.rank == self.MAIN_PROCESS_RANK

    def prepare_subprocess(self) -> None:
        """Called in each process before the test."""

    def __init__(self, method_name: str = "runTest", methodName: str = "runTest") -> None:
        name = method_name if methodName == "runTest" else methodName
        super().__init__(name)
        test = getattr(self, name, None)
        if test is not None:
            setattr(self, name, self.join_or_run(test))

    def join_or_run(self, fn: Callable[[], Any]) -> Callable[[], None]:
        """What stands for a test: it waits for the processes in the one that started them, and is the test in these."""

        @wraps(fn)
        def waits_or_runs(case: MultiProcessTestCase) -> None:
            if case.is_starter:
                case._join_processes(fn)
                return
            fn()

        return MethodType(waits_or_runs, self)

    def setUp(self) -> None:
        """Nothing is started yet."""
        super().setUp()
        self.rank = self.MAIN_PROCESS_RANK
        self.skip_return_code_checks: list[Callable[[], Any]] = []
        self.processes: list[BaseProcess] = []
        self.pid_to_pipe: dict[int | None, Connection] = {}
        self._folder = tempfile.TemporaryDirectory()
        self.file_name = str(Path(self._folder.name) / "store")
        Path(self.file_name).touch()

    def tearDown(self) -> None:
        """End what still runs."""
        super().tearDown()
        self._end_processes()
        for process in self.processes:
            process.close()
        self.processes = []
        self._folder.cleanup()

    # ------------------------------------------------------------------------------------------ the process that starts
    def _current_test_name(self) -> str:
        return self.id().rpartition(".")[2]

    def _spawn_processes(self) -> None:
        self._start_processes(multiprocessing.get_context("spawn").Process)

    def _start_processes(self, proc: Callable[..., BaseProcess]) -> None:
        self.processes = []
        for rank in range(int(self.world_size)):
            ours, theirs = multiprocessing.Pipe(duplex=False)
            process = proc(
                target=type(self)._run,
                name=f"process {rank}",
                args=(rank, self._current_test_name(), self.file_name, theirs),
            )
            process.start()
            theirs.close()
            self.pid_to_pipe[process.pid] = ours
            self.processes.append(process)

    def _join_processes(self, fn: Callable[[], Any]) -> None:
        began = time.monotonic()
        try:
            running = {process.sentinel: process for process in self.processes}
            while running and not any(process.exitcode == self.TEST_ERROR_EXIT_CODE for process in self.processes):
                ended = wait(list(running), max(0.0, began + self.timeout - time.monotonic()))
                if not ended:
                    raise RuntimeError(self._time_is_over())
                for sentinel in ended:
                    # Its end is seen a moment before it has an exit code.
                    running.pop(cast(int, sentinel)).join()
            self._end_processes()
            self._raise_errors()
            if fn not in self.skip_return_code_checks:
                self._check_return_codes()
        finally:
            self._end_processes()
            for pipe in self.pid_to_pipe.values():
                pipe.close()

    def _end_processes(self) -> None:
        for process in self.processes:
            if process.is_alive():
                process.terminate()
        for process in self.processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()

    def _raise_errors(self) -> None:
        texts = []
        for rank, process in enumerate(self.processes):
            if process.exitcode == self.TEST_ERROR_EXIT_CODE:
                pipe = self.pid_to_pipe[process.pid]
                error = pipe.recv() if pipe.poll() else "it said nothing more"
                texts.append(f"Process {rank} exited with error code {process.exitcode} and exception:\n{error}")
        if texts:
            raise RuntimeError("\n".join(texts))

    def _check_return_codes(self) -> None:
        """That all ended in the same way, and well or with a reason to skip the test."""
        codes = [process.exitcode for process in self.processes]
        for skip in TEST_SKIPS.values():
            if codes[0] == skip.exit_code:
                raise SkipTest(skip.message)
        if any(codes):
            raise RuntimeError(
                f"the processes exited with {codes}, in the order of their ranks; a negative number is the signal that "
                "ended one. A test that may do so puts itself into skip_return_code_checks"
            )

    def _time_is_over(self) -> str:
        """What each process that still runs is doing."""
        running = [(rank, process) for rank, process in enumerate(self.processes) if process.is_alive()]
        for _, process in running:
            os.kill(process.pid or 0, signal.SIGUSR1)
        texts = [f"processes {[rank for rank, _ in running]} did not end within {self.timeout} s"]
        for rank, process in running:
            process.join(0.5)  # the signal takes a moment
            with suppress(FileNotFoundError):  # it has not come as far as its test
                texts.append(f"Process {rank} was at\n{_stack_file(self.file_name, rank).read_text()}")
        return "\n".join(texts)

    # ------------------------------------------------------------------------------------------------ in each process
    @classmethod
    def _run(cls, rank: int, test_name: str, file_name: str, parent_pipe: Connection) -> None:
        with open(_stack_file(file_name, rank), "w") as stack:
            faulthandler.register(signal.SIGUSR1, stack, all_threads=True)
            self = cls(test_name)
            self.rank, self.file_name = rank, file_name
            self.run_test(test_name, parent_pipe)

    def run_test(self, test_name: str, parent_pipe: Connection) -> None:
        """Run the test; exit with a code that says how it ended, when it did not end well."""
        try:
            rank, file_name = self.rank, self.file_name
            self.prepare_subprocess()
            self.rank, self.file_name = rank, file_name  # it may call a setUp, which has others
            getattr(self, test_name)()
        except SkipTest as skip:
            logger.warning("process %d skips %s: %s", self.rank, test_name, skip)
            sys.exit(TEST_SKIPS["generic"].exit_code)
        except Exception:  # noqa: BLE001 - sent to the process that waits, which raises it
            parent_pipe.send(traceback.format_exc())
            sys.exit(self.TEST_ERROR_EXIT_CODE)
        finally:
            parent_pipe.close()


def _stack_file(file_name: str, rank: int) -> Path:
    return Path(f"{file_name}.stack{rank}")
