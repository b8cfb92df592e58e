"""The agent that starts ranks: exit codes, signals, restarts, who failed first. The ranks here do without torch."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.rendezvous import RendezvousConnectionError

from trainwright.base.errors import ConfigError, RankError
from trainwright.dist import agent as agents
from trainwright.dist.agent import Launch, launch
from trainwright.dist.rank_failure import tell

RANK = "import os, signal, sys, time\nrank, attempt = int(os.environ['RANK']), int(os.environ['TRAINWRIGHT_ATTEMPT'])\n"
# What ranks.tell() writes, without importing it: a program that imports torch takes seconds.
TELL = """
def fail(line, consequence=False, mistake=False, code=1):
    import json
    own = dict(text="Traceback: " + line, line=line, time=time.time(), is_consequence=consequence, is_mistake=mistake)
    extra = dict(py_callstack="", timestamp="1")
    content = dict(message=dict(message=line, extraInfo=extra), trainwright=own)
    json.dump(content, open(os.environ["TORCHELASTIC_ERROR_FILE"], "w"))
    sys.exit(code)
"""


class Ranks:
    """Starts `program` in so many processes; keeps what was said."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder, []

    def __call__(self, program: str, nproc: int = 2, **settings: Any) -> int:
        text = RANK + f"folder = {os.fspath(self.folder)!r}\n" + TELL + textwrap.dedent(program)
        command = (sys.executable, "-S", "-c", text)
        return launch(Launch(command, nproc, say=self.said.append, **settings))


@pytest.fixture
def ranks(tmp_path: Path) -> Ranks:
    return Ranks(tmp_path)


@pytest.fixture(autouse=True)
def _same_environment() -> Any:
    before, handlers = dict(os.environ), signal.getsignal(signal.SIGTERM)
    yield
    del before["PYTEST_CURRENT_TEST"]
    assert before.items() <= os.environ.items()
    assert set(os.environ) - set(before) == {"PYTEST_CURRENT_TEST"}
    assert signal.getsignal(signal.SIGTERM) is handlers


def test_ranks_get_the_environment_of_torchrun_and_a_share_of_the_cores(
    ranks: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    program = """
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "OMP_NUM_THREADS", "TRAINWRIGHT_ATTEMPT", "MINE")
    open(f"{folder}/{rank}", "w").write(" ".join(os.environ[name] for name in names))
    """
    assert ranks(program, before_start=lambda attempt: {"MINE": f"start {attempt}"}) == 0
    threads = max(len(os.sched_getaffinity(0)) // 2, 1)
    assert (ranks.folder / "0").read_text() == f"0 0 2 127.0.0.1 {threads} 1 start 1"
    assert (ranks.folder / "1").read_text() == f"1 1 2 127.0.0.1 {threads} 1 start 1"
    assert ranks.said == []


def test_threads_that_the_user_chose_stay(ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert ranks("sys.exit(int(os.environ['OMP_NUM_THREADS']))", 1) == 7


def test_the_first_that_failed_is_named_and_its_code_returned(ranks: Ranks) -> None:
    program = """
    if rank == 1:
        fail("ValueError: boom", code=3)
    while not os.path.exists(os.environ["TORCHELASTIC_ERROR_FILE"].replace("/0/", "/1/")):
        time.sleep(0.01)
    fail("RankError: rank 1 failed", consequence=True)
    """
    assert ranks(program) == 3
    assert ranks.said == ["rank 1 failed with exit code 3:\nTraceback: ValueError: boom"]


def test_a_rank_that_was_killed_is_started_again_with_the_others(ranks: Ranks) -> None:
    program = """
    open(f"{folder}/{attempt}-{rank}", "w").close()
    if attempt == 1 and rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    while attempt == 1:
        time.sleep(1)
    """
    assert ranks(program, max_restarts=3) == 0
    assert sorted(os.listdir(ranks.folder)) == ["1-0", "1-1", "2-0", "2-1"]
    assert len(ranks.said) == 1
    assert ranks.said[0].startswith("rank 1 was ended by SIGKILL (out of memory?")
    assert ranks.said[0].endswith("the ranks are started again: 1 of 3")


def test_restarts_end_and_the_code_is_that_of_a_shell(ranks: Ranks) -> None:
    assert ranks("os.kill(os.getpid(), signal.SIGKILL)", 1, max_restarts=1) == 137
    assert len(ranks.said) == 2
    assert "started again" not in ranks.said[1]


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("sys.exit(75 if rank else 0)", 75),
        ("sys.exit(75)", 75),
        ("fail('ConfigError: no such key', mistake=True)", 1),
    ],
)
def test_what_would_happen_again_or_was_asked_for_is_not_started_again(ranks: Ranks, program: str, code: int) -> None:
    assert ranks(f"open(f'{{folder}}/{{attempt}}-{{rank}}', 'w').close()\n{program}", max_restarts=3) == code
    assert not list(ranks.folder.glob("2-*"))


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 75), ("SIGUSR1", 75), ("SIGINT", 130)])
def test_a_signal_is_passed_on_and_the_ranks_decide(ranks: Ranks, name: str, code: int) -> None:
    program = f"""
    heard = []
    signal.signal(signal.{name}, lambda number, frame: heard.append(number))
    open(f"{{folder}}/{{rank}}", "w").close()
    while rank == 0 and not os.path.exists(f"{{folder}}/1"):
        time.sleep(0.01)
    if rank == 0:
        os.kill(os.getppid(), signal.{name})  # the process that started the ranks
    while not heard:
        time.sleep(0.01)
    sys.exit({code})
    """
    assert ranks(program, max_restarts=2) == code
    assert ranks.said == []


def test_ranks_that_do_not_hear_are_ended_by_the_fourth_signal(ranks: Ranks) -> None:
    program = """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(0.05)
    """
    assert ranks(program, 1, max_restarts=2) == 75


def test_a_signal_while_ranks_are_being_started_reaches_them(ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    start = LocalElasticAgent._start_workers

    def late(agent: Any, group: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        while not agent._heard:
            time.sleep(0.01)
        return start(agent, group)

    monkeypatch.setattr(LocalElasticAgent, "_start_workers", late)
    assert ranks("time.sleep(60)", 1, max_restarts=2) == 75
    assert ranks.said == []
    assert "trainwright-agent" not in [thread.name for thread in threading.enumerate()], "ranks are left to nobody"


@pytest.mark.parametrize("code", [0, 3])
def test_a_signal_after_the_end_of_the_ranks_changes_nothing(
    ranks: Ranks, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    real = agents._handled

    @contextmanager
    def late(*args: Any) -> Iterator[None]:
        with real(*args):
            yield
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(agents, "_handled", late)
    assert ranks(f"sys.exit({code})", 1) == code


def test_a_failure_while_stopping_is_a_failure(ranks: Ranks) -> None:
    program = """
    signal.signal(signal.SIGTERM, lambda number, frame: fail("SaveError: disk full"))
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)
    """
    assert ranks(program, 1, max_restarts=2) == 1
    assert ranks.said == ["rank 0 failed with exit code 1:\nTraceback: SaveError: disk full"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConfigError("no such folder"), "^no such folder"),
        (PermissionError("work_dirs"), "the ranks cannot be started: PermissionError: work_dirs"),
    ],
)
def test_an_error_before_a_start_is_raised_and_nothing_started(ranks: Ranks, error: Exception, message: str) -> None:
    def refuse(attempt: int) -> dict[str, str]:
        raise error

    with pytest.raises(ConfigError, match=message):
        ranks("open(f'{folder}/ran', 'w')", before_start=refuse)
    assert not list(ranks.folder.iterdir())


def test_nodes_that_cannot_meet(ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    def timeout(parameters: Any) -> None:
        raise RendezvousConnectionError("the connection to the C10d store has failed")

    with pytest.raises(ConfigError, match="the endpoint 'node0:port' is no host:port"):
        ranks("pass", nodes=(2, 2), endpoint="node0:port")
    monkeypatch.setattr("trainwright.dist.agent.rendezvous_registry.get_rendezvous_handler", timeout)
    with pytest.raises(RankError, match=r"cannot meet at 127.0.0.1:1 \(another node opens it\): the connection"):
        ranks("pass", nodes=(2, 2), endpoint="127.0.0.1:1", hosts=False)


def test_two_agents_count_their_starts_together(tmp_path: Path) -> None:
    """Two nodes, both on this machine: the failure on one is a new start on both."""
    program = RANK + textwrap.dedent(
        f"""
        open({os.fspath(tmp_path)!r} + f"/{{attempt}}-{{rank}}-{{os.environ['WORLD_SIZE']}}", "w").close()
        if attempt == 1 and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        while attempt == 1:
            time.sleep(0.1)
        """
    )
    node = textwrap.dedent(
        f"""
        import sys
        from trainwright.dist.agent import Launch, launch
        command = (sys.executable, "-S", "-c", {program!r})
        sys.exit(launch(Launch(command, 1, (2, 2), f"127.0.0.1:{{sys.argv[1]}}", max_restarts=2, say=print)))
        """
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    nodes = [
        subprocess.Popen([sys.executable, "-c", node, str(port)], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [process.communicate(timeout=60)[0] for process in nodes]
    assert [process.returncode for process in nodes] == [0, 0]
    assert sorted(os.listdir(tmp_path)) == ["1-0-2", "1-1-2", "2-0-2", "2-1-2"]
    assert sorted(text.splitlines()[-1] for text in said) == [
        "another node starts its ranks again, and so does this one",
        "the ranks are started again: 1 of 2",
    ]


def test_what_a_rank_tells_is_torchruns_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE", raising=False)
    assert not tell(ValueError("boom"))
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", os.fspath(tmp_path / "error.json"))
    assert tell(ValueError("boom"))
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    failure = ProcessFailure(0, 1, 1, os.fspath(tmp_path / "error.json"))
    assert failure.error_file_data["message"]["message"] == "ValueError: boom"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", os.fspath(tmp_path / "none" / "error.json"))
    assert not tell(ValueError("boom"))
