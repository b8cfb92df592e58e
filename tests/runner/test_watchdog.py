"""A run that hangs is reported with the rank that the others wait for, and ends."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from trainwright import Runner, dist
from trainwright.base.errors import ConfigError
from trainwright.dist.pending import recorded
from trainwright.engine import Hook
from trainwright.runner.watchdog import culprit, overview
from trainwright.runner.watchdog_cfg import WatchdogCfg
from trainwright.testing.rank_runs import train_toy
from trainwright.testing.ranks import run_ranks
from trainwright.testing.toys import ToyModel, toy_config, toy_loader

DDP = {"type": "DDPStrategy"}
QUICK = {"timeout_s": 2.0, "first_timeout_s": 60.0}


def hang() -> None:
    threading.Event().wait(30)


class HangAt(Hook):
    """Rank 1 does not come back from iteration 2."""

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if (runner.rank, runner.iter) == (1, 2):
            hang()


class HangingModel(ToyModel):
    """Rank 1 does not come back from its second validation batch."""

    n_seen = 0

    def forward(self, inputs: Any, label: Any = None, mode: str = "tensor") -> Any:
        """Hang, or go on."""
        self.n_seen += mode == "predict"
        if dist.get_rank() == 1 and self.n_seen == 2:
            hang()
        return super().forward(inputs, label, mode)


class Skipper(Hook):
    """Rank 0 ends its first epoch two iterations before the others do."""

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if runner.rank == 0 and runner.iter == 1:
            runner.train_loop.stop_training = True


def train_hanging(folder: Path, changes: dict[str, Any]) -> None:
    train_toy(folder, strategy=DDP, env_cfg={"watchdog": QUICK}, train_dataloader=toy_loader(16, 2), **changes)


def reports(folder: Path, changes: dict[str, Any]) -> list[str]:
    with pytest.raises(AssertionError, match="it ended without a result"):
        run_ranks(2, train_hanging, folder, changes)
    return [next(folder.glob(f"*/hangs/rank_{rank}.txt")).read_text() for rank in range(2)]


def test_a_hook_that_hangs_on_one_rank_is_named_on_all(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first, second = reports(tmp_path, {"custom_hooks": [HangAt()]})
    assert first.startswith("rank 0 stands still: backward, training, epoch 0, iteration 2, for ")
    assert "in gloo:all_reduce number " in first.splitlines()[0]
    assert second.startswith("rank 1 stands still: hook HangAt.before_train_iter, training, epoch 0, iteration 2, for ")
    for text in (first, second):
        verdict, header, _, one, other = text.splitlines()[:5]
        assert "The others wait for rank 1, which has not come to that collective: rank 1 is at " in verdict
        assert header.split() == [
            *(["rank", "phase", "doing", "epoch", "iteration", "for", "at"]),
            *(["collective", "that", "it", "waits", "in"]),
        ]
        assert one.split()[:2] == ["0", "training"]
        assert "gloo:all_reduce" in one
        assert "hook HangAt.before_train_iter" in other
        assert "Thread 0x" in text, "the stacks of all threads are there"
    assert "in hang" in second
    (trace,) = tmp_path.glob("*/hangs/rank_0_collectives.json")
    assert any(not entry["retired"] for entry in json.loads(trace.read_text().splitlines()[0])["entries"])
    said = capfd.readouterr().err
    assert said.count("collective that it waits in") == 1, "the table is shown once"
    assert "rank 1 stands still: " in said
    assert "Stacks of all threads and the flight recorder: " in said


def test_a_validation_that_hangs_is_named(tmp_path: Path) -> None:
    first, second = reports(tmp_path, {"model": HangingModel(), "val_dataloader": toy_loader(16, 2, shuffle=False)})
    assert second.startswith("rank 1 stands still: forward, validation, epoch 1, iteration 4, for ")
    assert "which has not come to that collective: rank 1 is at " in first.splitlines()[0]


def test_a_rank_that_ends_its_epoch_early_is_named(tmp_path: Path) -> None:
    first, second = reports(tmp_path, {"custom_hooks": [Skipper()], "train_cfg": {"by_epoch": False, "max_iters": 8}})
    assert "rank 0 stands still: " in first
    assert "rank 1 stands still: " in second
    assert "wait" in first.splitlines()[0]


def report_only(folder: Path) -> int:
    runner = train_toy(
        folder, strategy=DDP, custom_hooks=[PauseAt()], env_cfg={"watchdog": {"timeout_s": 0.4, "action": "report"}}
    )
    return int(runner.iter)


class PauseAt(Hook):
    """Rank 1 comes back, when both have reported."""

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        pause, tries = threading.Event(), 0
        if (runner.rank, runner.iter) != (1, 2):
            return
        reports = [Path(runner.log_dir) / "hangs" / f"rank_{rank}.txt" for rank in range(2)]
        # A machine that is busy may have held up an iteration before, which then was reported too.
        while not all(path.exists() and "iteration 2, for" in path.read_text() for path in reports) and tries < 1000:
            pause.wait(0.05)
            tries += 1


def test_a_report_alone_lets_the_run_go_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_ranks(2, report_only, tmp_path) == [4, 4]
    said = capfd.readouterr().err
    for rank in range(2):
        assert said.count(f"rank {rank} stands still: ") >= 1
    assert said.count("hook PauseAt.before_train_iter, training, epoch 1, iteration 2") == 1, "once a hang"


def patient(folder: Path, settings: dict[str, Any]) -> tuple[int, bool]:
    runner = train_toy(folder, strategy=DDP, custom_hooks=[PauseFirst()], env_cfg={"watchdog": settings})
    return int(runner.iter), any(thread.name == "trainwright-watchdog" for thread in threading.enumerate())


class PauseFirst(Hook):
    """The first step takes long, as one that compiles does."""

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter == 0:
            threading.Event().wait(0.8)


def test_the_first_iteration_may_take_longer_and_the_watchdog_can_be_off(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # A machine that is busy may hold up a later iteration for so long; what counts is that the first one may take it.
    slow = {"timeout_s": 0.2, "first_timeout_s": 60.0, "action": "report"}
    assert run_ranks(2, patient, tmp_path / "a", slow) == [(4, False)] * 2
    assert "iteration 0, for" not in capfd.readouterr().err
    off = {"timeout_s": 0.1, "first_timeout_s": 0.1, "action": "off"}
    assert run_ranks(2, patient, tmp_path / "b", off) == [(4, False)] * 2
    assert "stands still" not in capfd.readouterr().err


# -- lengths -------------------------------------------------------------------------------------------------------
def uneven(folder: Path) -> str:
    loader = toy_loader(16 + 4 * dist.get_rank(), 2)
    runner = Runner.from_cfg(toy_config(folder, strategy=DDP, train_dataloader=loader))
    with pytest.raises(ConfigError) as caught:
        runner.train()
    return str(caught.value)


def test_epochs_of_other_lengths_on_other_ranks_are_refused(tmp_path: Path) -> None:
    first, second = run_ranks(2, uneven, tmp_path)
    assert first == second
    assert first.startswith(
        "the training loader has not the same number of batches on all ranks (4 on rank 0, 5 on rank 1): those with "
        "more would wait for the others"
    )


# -- the parts -----------------------------------------------------------------------------------------------------
def beat(rank: int, number: int = 4, pending: str = "", group: str = "the default group") -> dict[str, Any]:
    return {
        "rank": rank, "phase": "training", "where": "backward", "epoch": 0, "iter": 7, "for_s": 3.0,
        "at": "a.py:1 in f", "pending": pending, "newest": {group: number},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("beats", "verdict"),
    [
        ([beat(0, 5, "gloo:x"), None, beat(2, 5, "gloo:x")], "rank 1 did not answer: the process is gone"),
        ([beat(0, 5, "gloo:x"), beat(1, 4), beat(2, 4)], "The others wait for ranks 1, 2, which have not come"),
        ([beat(0), beat(1), beat(2)], "No rank waits in a collective: each stands still by itself."),
        ([beat(0, 5, "gloo:x"), beat(1, 5), beat(2, 5, "gloo:x")], "The others wait for rank 1, which waits in no"),
        ([beat(0, 5, "gloo:x n"), beat(1, 5, "gloo:y n"), beat(2, 5, "gloo:y n")], "The ranks wait in different coll"),
        ([beat(0, 5, "gloo:x n"), beat(1, 5, "gloo:x n"), beat(2, 5, "gloo:x n")], "All ranks wait in the same coll"),
    ],
)
def test_whom_the_others_wait_for(beats: list[dict[str, Any] | None], verdict: str) -> None:
    found = {rank: one for rank, one in enumerate(beats) if one is not None}
    assert culprit(found, 3).startswith(verdict)
    lines = overview(found, 3).splitlines()
    assert len(lines) == 5
    assert ("no answer" in lines[3]) == (1 not in found)


def test_without_a_group_nothing_is_pending() -> None:
    assert recorded().pending == ()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"timeout": 5},
            "watchdog has no setting 'timeout'; it takes timeout_s, first_timeout_s, action. Did you mean",
        ),
        ({"timeout_s": 0}, "watchdog timeout_s must be above 0 seconds, but got 0."),
        ({"first_timeout_s": "5"}, "watchdog first_timeout_s must be a number of seconds, but got '5'."),
        ({"action": "abrt"}, "watchdog action='abrt' is none of abort, report, off. Did you mean"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        WatchdogCfg.from_cfg(settings)
    assert str(caught.value).startswith(text)
    with pytest.raises(ConfigError, match="watchdog"):
        Runner.from_cfg(toy_config(tmp_path, env_cfg={"watchdog": settings}))
