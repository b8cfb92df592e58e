"""A rank of a launched training is killed: one restart, and the end is that of a training that was left alone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from launched import train, two_hosts, why_no_hosts, write_project

from trainwright import Config, Runner
from trainwright.testing.rank_runs import exact_state
from trainwright.testing.ranks import run_ranks
from trainwright.testing.toys import differences


def train_here(config: Path, work_dir: Path) -> None:
    cfg = Config.fromfile(config)
    cfg.work_dir, cfg.strategy = str(work_dir), {"type": "DDPStrategy"}
    Runner.from_cfg(cfg).train()


@pytest.mark.conformance  # long
def test_a_killed_rank_takes_one_restart_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_project(tmp_path)
    monkeypatch.setenv("SECONDS_A_SAMPLE", "0")
    monkeypatch.setenv("TRAINWRIGHT_ATTEMPT", "2")  # nobody dies
    run_ranks(2, train_here, tmp_path / "dies.py", tmp_path / "whole")  # forked: nothing is imported again
    whole = exact_state(tmp_path / "whole" / "iter_40.pth")
    killed = train(tmp_path, "killed", config="dies.py")
    assert (killed.codes, killed.n_restarts) == ([0], 1), killed.said
    assert "rank 1 was ended by SIGKILL" in killed.said
    assert "the ranks are started again: 1 of 3" in killed.said
    assert "iter_5.pth: epoch 0, iteration 5" in killed.said
    assert not differences(whole, killed.state)


@pytest.mark.conformance
def test_ten_kills_at_any_moment(tmp_path: Path) -> None:
    write_project(tmp_path)
    whole = train(tmp_path, "whole")
    for number in range(10):
        killed = train(tmp_path, f"killed_{number}", kill=random.Random(number))
        assert (killed.codes, killed.n_restarts) == ([0], 1), killed.said
        assert killed.same_weights(whole), number


@pytest.mark.conformance
def test_ten_kills_on_two_hosts(tmp_path: Path) -> None:
    reason = why_no_hosts()
    if reason:
        pytest.skip(reason)
    write_project(tmp_path)
    with two_hosts() as (hosts, meeting):
        launch = ("--nproc", "1", "--nnodes", "2", "--rdzv-endpoint", meeting)
        whole = train(tmp_path, "whole", hosts, launch)
        assert (whole.codes, whole.n_restarts) == ([0, 0], 0), whole.said
        for number in range(10):
            killed = train(tmp_path, f"killed_{number}", hosts, launch, kill=random.Random(number))
            assert (killed.codes, killed.n_restarts) == ([0, 0], 1), killed.said
            assert killed.same_weights(whole), number
