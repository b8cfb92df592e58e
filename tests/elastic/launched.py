"""Trainings that `trainwright train --launcher pytorch` starts, one of whose ranks is killed; on one host or on two."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright.testing.rank_runs import exact_state
from trainwright.testing.toys import differences

N_ITERS = 40
CONFIG = f"""
custom_imports = dict(imports=["trainwright.testing.toys", "slow_points.py"])
model = dict(type="ToyModel", dropout=0.2)
train_dataloader = dict(
    dataset=dict(type="LaunchedPoints", size=64, noise=0.2),
    sampler=dict(type="InfiniteSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    batch_size=4,
)
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=0.01), clip_grad=dict(max_norm=1.0))
param_scheduler = dict(type="CosineAnnealingLR", by_epoch=False)
train_cfg = dict(by_epoch=False, max_iters={N_ITERS})
default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=5, by_epoch=False, max_keep_ckpts=3))
randomness = dict(seed=0)
"""
DIES = """
_base_ = "toy.py"
custom_hooks = [dict(type="DeathHook")]
"""
POINTS = """
import os
import signal
import time
from trainwright.engine import Hook
from trainwright.registry import DATASETS, HOOKS
from trainwright.testing.toys import ToyDataset

@DATASETS.register_module(force=True)
class LaunchedPoints(ToyDataset):
    def __getitem__(self, index):
        time.sleep(float(os.environ["SECONDS_A_SAMPLE"]))
        return super().__getitem__(index)

@HOOKS.register_module(force=True)
class DeathHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 7 and runner.rank == 1 and os.environ["TRAINWRIGHT_ATTEMPT"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
"""
Host = tuple[str, ...]  # the words before a command that is to run there
HERE: Host = ()


@dataclass(frozen=True)
class Outcome:
    """What came of a training."""

    codes: list[int]
    n_restarts: int
    seconds: float
    state: dict[str, Any]
    said: str

    def same_weights(self, other: Outcome) -> bool:
        """Whether both ended in the same state, bit for bit."""
        return not differences(self.state, other.state)


def write_project(folder: Path) -> None:
    """The config and what it names."""
    (folder / "toy.py").write_text(CONFIG)
    (folder / "dies.py").write_text(DIES)
    (folder / "slow_points.py").write_text(POINTS)


def train(
    folder: Path,
    name: str,
    hosts: Sequence[Host] = (HERE,),
    launch: Sequence[str] = ("--nproc", "2"),
    kill: random.Random | None = None,
    config: str = "toy.py",
) -> Outcome:
    """Train once; with `kill` one rank, of any host, gets SIGKILL at a moment that is drawn from it."""
    words = [sys.executable, "-m", "trainwright", "train", config, "--work-dir", name, "--launcher", "pytorch"]
    words += [*launch, "--max-restarts", "3"]
    pause_s = "0.005" if kill else "0"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "SECONDS_A_SAMPLE": pause_s, "TORCH_CPP_LOG_LEVEL": "FATAL"}
    began = time.monotonic()
    with open(folder / f"{name}.log", "w") as log:
        agents = [subprocess.Popen([*host, *words], cwd=folder, env=env, stdout=log, stderr=log) for host in hosts]
        try:
            if kill is not None:
                _kill_one(folder / name, agents, kill)
            codes = [agent.wait(240) for agent in agents]
        finally:
            for agent in agents:
                if agent.poll() is None:
                    agent.kill()  # its ranks are asked to stop by that
                    agent.wait()
    seconds = time.monotonic() - began
    said = (folder / f"{name}.log").read_text()
    n_starts = sum(re.fullmatch(r"\d{8}_\d{6}(_\d+)?", path.name) is not None for path in (folder / name).iterdir())
    last = folder / name / f"iter_{N_ITERS}.pth"
    state = exact_state(last) if last.exists() else {}
    return Outcome(codes, n_starts - 1, seconds, state, said)


def _kill_one(work_dir: Path, agents: Sequence[subprocess.Popen[bytes]], moment: random.Random) -> None:
    """Wait for a checkpoint that is neither the first nor among the last, and a little longer."""
    awaited = work_dir / f"iter_{moment.choice([5, 10, 15, 20, 25])}.pth"
    while not awaited.exists():
        if any(agent.poll() is not None for agent in agents):
            return
        time.sleep(0.01)
    time.sleep(moment.random() * 0.2)
    ranks = sorted(rank for agent in agents for rank in children(agent.pid))
    with suppress(ProcessLookupError):
        os.kill(moment.choice(ranks), signal.SIGKILL)


def children(parent: int) -> list[int]:
    """The processes that `parent` started."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            after_name = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(after_name[1]) == parent:
                found.append(int(folder.name))
    return found


def why_no_hosts() -> str:
    """Why two hosts cannot be made here; empty where they can."""
    if shutil.which("ip") is None:
        return "there is no program ip"
    made = subprocess.run(["ip", "netns", "add", f"tw-try-{os.getpid()}"], capture_output=True, text=True)
    if made.returncode:
        return f"network namespaces cannot be made: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", f"tw-try-{os.getpid()}"], check=True)
    return ""


@contextmanager
def two_hosts() -> Iterator[tuple[list[Host], str]]:
    """Two network namespaces with a wire between them: the words that run a command in each, and where they meet."""
    names = [f"tw-{os.getpid()}-{letter}" for letter in "ab"]
    ends = [f"tw{os.getpid() % 10**7}{letter}" for letter in "ab"]
    made = []
    try:
        for name in names:
            _ip("netns", "add", name)
            made.append(name)
        _ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for number, (name, end) in enumerate(zip(names, ends, strict=True), start=1):
            _ip("link", "set", end, "netns", name)
            _ip("-n", name, "address", "add", f"10.219.7.{number}/24", "dev", end)
            _ip("-n", name, "link", "set", end, "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield [("ip", "netns", "exec", name) for name in names], "10.219.7.1:29411"
    finally:
        for name in made:
            _ip("netns", "delete", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
