"""torchrun's agent as this package starts it: a process of each node that starts the ranks and watches them."""

from __future__ import annotations

import json
import logging
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch.distributed import distributed_c10d
from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.rendezvous import RendezvousError, RendezvousParameters
from torch.distributed.elastic.rendezvous import registry as rendezvous_registry

from trainwright.base.errors import ConfigError, RankError
from trainwright.dist.addresses import address_towards, interface_of, is_local, parse_endpoint
from trainwright.dist.launch import ATTEMPT
from trainwright.dist.rank_failure import Failed, ended_quietly, first_failed, told_by

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
_PATIENCE = 3  # signals that are passed on; the next one ends the ranks
_INTERRUPTED = 130


@dataclass(frozen=True)
class Launch:
    """What is to be started, and how.

    Args:
        command: The program of each rank, with its arguments.
        nproc: Ranks on this node.
        nodes: Fewest and most nodes.
        endpoint: ``host:port`` where the nodes meet; one node needs none.
        hosts: Whether the meeting point is on this node; None: found out.
        max_restarts: How often the ranks are started again after one of them failed.
        signals: Signals to pass on, besides those that end a program.
        requeue_code: The exit code of a rank that asks to be started again by somebody else.
        before_start: Called on one node with the number of the start, from 1: variables for the ranks of all nodes.
        say: Is given lines for the user.
    """

    command: tuple[str, ...]
    nproc: int
    nodes: tuple[int, int] = (1, 1)
    endpoint: str = ""
    hosts: bool | None = None
    max_restarts: int = 0
    signals: tuple[str, ...] = ("SIGUSR1",)
    requeue_code: int = 75
    before_start: Callable[[int], dict[str, str]] = field(default=lambda attempt: {})
    say: Callable[[str], None] = field(default=logging.getLogger(__name__).info)


def launch(plan: Launch) -> int:
    """Start the ranks of this node, wait for their end, and return the exit code of the whole.

    0, or that of the rank that failed first (128 and the signal's number where a signal ended it). Ranks that were
    asked to stop are not started again, and their code is the one returned. Signals are passed on to them.
    """
    with tempfile.TemporaryDirectory(prefix="trainwright-launch-") as folder, _quiet_elastic():
        return _Launcher(plan, folder).run()


class _Stopped(Exception):
    """A signal came while there were no ranks to pass it on to."""


class _Launcher:
    """The agent works in a thread; the main thread hears the signals. So torch's handlers, which raise wherever the
    agent is, are not set."""

    def __init__(self, plan: Launch, folder: str) -> None:
        self._plan = plan
        self._heard: list[int] = []
        self._over: list[RunResult | BaseException] = []
        self._handler, address = _meeting(plan)
        spec = WorkerSpec(
            role="trainwright",
            local_world_size=plan.nproc,
            entrypoint=plan.command[0],
            args=plan.command[1:],
            rdzv_handler=self._handler,
            max_restarts=plan.max_restarts,
            monitor_interval=0.1,
            local_addr=address,
        )
        self._agent = _Agent(spec, folder, plan, self._heard)

    def run(self) -> int:
        thread = threading.Thread(target=self._work, name="trainwright-agent", daemon=True)
        numbers = [signal.Signals[name] for name in dict.fromkeys((*_SIGNALS, *self._plan.signals))]
        try:
            with _handled(numbers, self._on_signal), _variables(_for_ranks(self._plan, numbers)):
                thread.start()
                thread.join()
        except _Stopped:
            if not self._over:  # or else the ranks have ended by themselves
                return self._code_of_stop()
        outcome = self._over[0]
        if isinstance(outcome, _Stopped):
            return self._code_of_stop()
        if isinstance(outcome, RendezvousError):
            raise RankError(f"the nodes of this run do not come together (any more): {outcome}") from outcome
        if isinstance(outcome, BaseException):
            raise outcome
        return self._code(outcome)

    def _work(self) -> None:
        try:
            self._over.append(self._agent.run())
            self._handler.shutdown()  # no node is waited for any more
        except BaseException as error:  # noqa: BLE001 - raised in the main thread
            self._over.append(error)
            if not isinstance(error, RendezvousError):
                self._handler.shutdown()

    def _on_signal(self, number: int, frame: Any) -> None:
        self._heard.append(number)
        n_reached = self._agent.send(number if len(self._heard) <= _PATIENCE else signal.SIGKILL)
        if not n_reached and not self._agent.is_starting:
            raise _Stopped

    def _code_of_stop(self) -> int:
        return _INTERRUPTED if self._heard[0] == signal.SIGINT else self._plan.requeue_code

    def _code(self, result: RunResult) -> int:
        failed = self._agent.failed
        if not result.is_failed() or failed is None:
            return 0
        if not failed.is_quiet:
            self._plan.say(failed.text())
            return failed.exit_code
        if failed.exit_code in (self._plan.requeue_code, _INTERRUPTED):
            return failed.exit_code
        return self._code_of_stop()


class _Agent(LocalElasticAgent):
    """Numbers the starts over all nodes, and does not start again what was stopped or cannot succeed."""

    def __init__(self, spec: WorkerSpec, folder: str, plan: Launch, heard: list[int]) -> None:
        super().__init__(spec, DefaultLogsSpecs(log_dir=os.path.join(folder, "ranks")))
        self._plan, self._heard = plan, heard
        self.is_starting = False  # ranks that begin now are told what was heard meanwhile
        self._n_started = 0
        self._seen: dict[int, int] = {}
        self.failed: Failed | None = None

    def send(self, number: int) -> int:
        """Send a signal to the ranks that live; returns how many there are."""
        if self._pcontext is None:
            return 0
        processes = [handler.proc for handler in getattr(self._pcontext, "subprocess_handlers", {}).values()]
        living = [process for process in processes if process.poll() is None]
        for process in living:
            process.send_signal(number)
        return len(living)

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:
        variables = self._agree(worker_group)
        self.is_starting = True  # before looking: a signal from here on is not one that finds nobody
        try:
            return self._start(worker_group, variables)
        finally:
            self.is_starting = False

    def _start(self, worker_group: WorkerGroup, variables: Mapping[str, str]) -> dict[int, Any]:
        if self._heard:
            raise _Stopped
        if self._n_started and self.failed is None:
            self._plan.say("another node starts its ranks again, and so does this one")
        self._n_started += 1
        self._seen, self.failed = {}, None
        with _variables(variables):
            ids: dict[int, Any] = super()._start_workers(worker_group)
        for number in list(self._heard):
            self.send(number)
        return ids

    def _agree(self, group: WorkerGroup) -> dict[str, str]:
        """The variables of this start, which one node determines for all."""
        store: Any = group.store
        node: Any = group.group_rank
        if node == 0:
            root = store
            while isinstance(root, distributed_c10d.PrefixStore):
                root = root.underlying_store
            attempt = int(root.add("trainwright/attempt", 1))
            told: dict[str, Any] = {"error": ""}
            try:
                told["variables"] = {**self._plan.before_start(attempt), ATTEMPT: str(attempt)}
            except ConfigError as error:
                told["error"] = str(error)
            except Exception as error:  # noqa: BLE001 - raised below, on every node: the others wait for a word
                told["error"] = f"the ranks cannot be started: {type(error).__name__}: {error}"
            store.set("trainwright/start", json.dumps(told))
        found = json.loads(store.get("trainwright/start"))
        if found["error"]:
            raise ConfigError(found["error"])
        variables: dict[str, str] = found["variables"]
        return variables

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        handlers = getattr(self._pcontext, "subprocess_handlers", {})
        ranks = {worker.local_rank: worker.global_rank for worker in worker_group.workers}
        if not self._seen:  # whoever is dead before the agent ends the others
            codes = {ranks[n]: handler.proc.poll() for n, handler in handlers.items()}
            self._seen = {rank: code for rank, code in codes.items() if code}
        result: RunResult = super()._monitor_workers(worker_group)
        if result.state is WorkerState.FAILED:
            self._judge(result)
        return result

    def _judge(self, result: RunResult) -> None:
        exits = {rank: (failure.exitcode, told_by(failure.error_file)) for rank, failure in result.failures.items()}
        quiet = ended_quietly([code for code, _ in exits.values()], self._plan.requeue_code, self._heard)
        self.failed = first_failed(exits, self._seen, quiet)
        if quiet or self._heard or self.failed.is_hopeless:
            self._remaining_restarts = 0
        elif self._remaining_restarts:
            n_th = self._plan.max_restarts - self._remaining_restarts + 1
            self._plan.say(f"{self.failed.text()}\nthe ranks are started again: {n_th} of {self._plan.max_restarts}")


def _meeting(plan: Launch) -> tuple[Any, str | None]:
    """Where the nodes meet, and the address that this one has there."""
    if plan.nodes[1] == 1:
        return _met("127.0.0.1:0", "127.0.0.1", plan.nodes, True), "127.0.0.1"
    host, port = parse_endpoint(plan.endpoint)
    local = address_towards(host)
    opens = is_local(host, port) if plan.hosts is None else plan.hosts
    try:
        return _met(f"{host}:{port}", local, plan.nodes, opens), local
    except RankError:
        if not opens or plan.hosts is not None:
            raise
    return _met(f"{host}:{port}", local, plan.nodes, False), local  # another agent of this machine was faster


def _met(endpoint: str, local: str | None, nodes: tuple[int, int], opens: bool) -> Any:
    # Of several launches on one machine each has a port of its own; the nodes of one must all know its name.
    parameters = RendezvousParameters("c10d", endpoint, "trainwright", *nodes, local_addr=local, is_host=opens)
    try:
        return rendezvous_registry.get_rendezvous_handler(parameters)
    except RendezvousError as error:
        side = "this node opens it" if opens else "another node opens it"
        raise RankError(f"the nodes cannot meet at {endpoint} ({side}): {error.__cause__ or error}") from error


def _for_ranks(plan: Launch, signals: list[signal.Signals]) -> dict[str, str]:
    """Variables of all starts. What the user has set stays."""
    wished = {"TORCHELASTIC_SIGNALS_TO_HANDLE": ",".join(number.name for number in signals)}
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wished["OMP_NUM_THREADS"] = str(max(n_cores // plan.nproc, 1))
    if plan.nodes[1] > 1:
        # torch's shared store of several nodes keeps the addresses of dead ranks; with this each start has a new one.
        wished["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
        interface = interface_of(address_towards(parse_endpoint(plan.endpoint)[0]))
        if interface:  # by itself gloo takes what the host's own name stands for, which may be a loopback
            wished["GLOO_SOCKET_IFNAME"] = interface
    return {name: os.environ.get(name, value) for name, value in wished.items()}


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _handled(numbers: list[signal.Signals], handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Signals that are ignored stay so: that is what nohup does."""
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: found for number, found in before.items() if found != signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, found in before.items():
            signal.signal(number, signal.SIG_DFL if found is None else found)


@contextmanager
def _quiet_elastic() -> Iterator[None]:
    """What torch's agent logs is said by this one in fewer words; LOGLEVEL brings it back."""
    if "LOGLEVEL" in os.environ:
        yield
        return
    names = [name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed.elastic")]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
