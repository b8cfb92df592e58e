"""Whole runs by ColossalAI's booster with the plugin that runs on a CPU: as one process would, exact when resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainwright.testing.rank_runs import CASES, close, in_ranks, resume_differences, run_cases

pytestmark = [pytest.mark.colossalai, pytest.mark.filterwarnings("ignore")]  # of the package, about torch
COLOSSALAI = {"type": "ColossalAIStrategy", "plugin": "TorchDDPPlugin"}


@pytest.fixture(autouse=True, scope="module")
def the_package() -> None:
    pytest.importorskip("colossalai.booster")
    pytest.importorskip("colossalai.nn.optimizer")


def some_cases(folder: Path, batch_size: int, strategy: Any) -> Any:
    CASES.pop("amp", None)  # of this process alone: it is refused, see below
    return run_cases(folder, batch_size, strategy)


def test_two_ranks_do_what_one_process_does_with_the_whole_batch(tmp_path: Path) -> None:
    (single,) = in_ranks(1, some_cases, tmp_path / "single", 8, None)
    first, second = in_ranks(2, some_cases, tmp_path / "ranks", 4, COLOSSALAI)
    for case, whole in single.items():
        means = [(a + b) / 2 for a, b in zip(first[case]["losses"], second[case]["losses"], strict=True)]
        assert close(means, whole["losses"], 1e-6), case
        assert close(first[case]["norms"], whole["norms"], 1e-6), case
        assert close(first[case]["tree"], whole["tree"], 1e-5), case
        assert first[case]["accuracy"] == whole["accuracy"], case


def test_a_resumed_run_ends_bit_for_bit_as_the_whole_one(tmp_path: Path) -> None:
    assert in_ranks(2, resumed, tmp_path) == [[], []]


def resumed(folder: Path) -> list[str]:
    return resume_differences(folder, strategy=COLOSSALAI)


def test_autocast_by_the_wrapper_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="needs one ColossalAIOptimWrapper, got AmpOptimWrapper"):
        in_ranks(2, run_cases, tmp_path, 4, COLOSSALAI)
