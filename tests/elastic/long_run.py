"""Ranks of launched trainings are killed, on one host and on two: a table in Markdown. `long_run.py [--kills N]`.

Two hosts are two network namespaces with a wire between them, for which this has to be run as root.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from launched import HERE, Host, train, two_hosts, why_no_hosts, write_project

HEAD = "| hosts | ranks | kills | ended well | one restart each | same weights, bit for bit | s a run, killed (whole) |"


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10, help="trainings of each row, each killed once")
    n_kills = parser.parse_args().kills
    say(f"{HEAD}\n|{'---|' * 7}")
    with tempfile.TemporaryDirectory() as folder:
        say(row(Path(folder), n_kills, (HERE,), ("--nproc", "2")))
    reason = why_no_hosts()
    if reason:
        say(f"two hosts: left out, {reason}")
        return
    with tempfile.TemporaryDirectory() as folder, two_hosts() as (hosts, meeting):
        launch = ("--nproc", "1", "--nnodes", "2", "--rdzv-endpoint", meeting)
        say(row(Path(folder), n_kills, hosts, launch))


def say(text: str) -> None:
    """Write it at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def row(folder: Path, n_kills: int, hosts: Sequence[Host], launch: Sequence[str]) -> str:
    """One training that is left alone, and others that are killed."""
    write_project(folder)
    whole = train(folder, "whole", hosts, launch)
    killed = [train(folder, f"killed_{n}", hosts, launch, kill=random.Random(n)) for n in range(n_kills)]
    well = sum(not any(run.codes) for run in killed)
    once = sum(run.n_restarts == 1 for run in killed)
    same = sum(run.same_weights(whole) for run in killed)
    seconds = sum(run.seconds for run in killed) / max(n_kills, 1)
    return f"| {len(hosts)} | 2 | {n_kills} | {well} | {once} | {same} | {seconds:.1f} ({whole.seconds:.1f}) |"


if __name__ == "__main__":
    main()
