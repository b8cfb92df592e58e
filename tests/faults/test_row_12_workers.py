"""Row 12: whatever a loader worker dies of, the run ends in time with an error that names the sample and the knob."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import get_worker_info

from trainwright import Runner
from trainwright.base.errors import DataError
from trainwright.testing.toys import ToyDataset, toy_config

BAD = 13
TIMEOUT_S = 1

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


class Deadly(ToyDataset):
    """Ends its reader at one sample, in its way."""

    def __init__(self, how: str) -> None:
        super().__init__(24)
        self.how = how

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == BAD and get_worker_info() is not None:
            _end(self.how)
        return super().__getitem__(index)


def _end(how: str) -> None:
    if how == "raise":
        raise ValueError("a damaged file")
    if how == "out of memory":
        resource.setrlimit(resource.RLIMIT_AS, (1 << 36, 1 << 36))
        bytearray(1 << 40)
    if how == "exit":
        os._exit(7)
    if how == "hang":
        time.sleep(60)
    os.kill(os.getpid(), signal.SIGKILL if how == "kill" else signal.SIGSEGV)


def train(folder: Path, how: str, **loader: Any) -> Runner:
    loader = {"dataset": Deadly(how), "batch_size": 4, "num_workers": 2, "timeout": TIMEOUT_S, **loader}
    collate = {"collate_fn": {"type": "default_collate"}}
    cfg = toy_config(folder, train_dataloader={**loader, **collate}, train_cfg={"by_epoch": True, "max_epochs": 1})
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (
            "raise",
            "sample 13 of dataset Deadly could not be read in loader worker 1: ValueError: a damaged file (epoch 0",
        ),
        ("out of memory", "sample 13 of dataset Deadly could not be read in loader worker 1: MemoryError"),
        ("exit", "loader worker 1 ended with exit code 7 while reading sample 13 of epoch 0"),
        ("kill", "loader worker 1 was killed by SIGKILL while reading sample 13 of epoch 0"),
        ("segv", "loader worker 1 was killed by SIGSEGV while reading sample 13 of epoch 0"),
        ("hang", "no batch within timeout=1 s: loader worker 1 is still reading sample 13 of epoch 0"),
    ],
)
def test_the_run_ends_in_time_and_names_the_sample(tmp_path: Path, how: str, says: str, capfd: Any) -> None:
    begin = time.monotonic()
    with pytest.raises(DataError) as caught:
        train(tmp_path, how)
    assert time.monotonic() - begin < TIMEOUT_S + 2
    capfd.readouterr()
    assert says in str(caught.value)
    knob = "timeout in the dataloader" if how == "hang" else "on_sample_error"
    assert knob in str(caught.value)


def test_the_policy_skips_and_counts(tmp_path: Path) -> None:
    runner = train(tmp_path, "raise", on_sample_error={"skip": {"max": 1}})
    assert runner.iter == 6
    assert runner.train_dataloader.skipped_samples == [BAD]
