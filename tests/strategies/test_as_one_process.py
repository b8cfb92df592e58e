"""Long runs: several ranks do what one process does with the whole batch, whatever the number of ranks on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from trainwright.testing.rank_runs import SampleRecorder, in_ranks, logged, resume_differences, saved_at, train_toy
from trainwright.testing.toys import toy_loader

STRATEGIES: dict[str, dict[str, Any]] = {
    "DDP": {"type": "DDPStrategy"},
    "FSDP": {"type": "FSDPStrategy", "wrap": ["Linear"]},
}
ADAM = {"type": "AdamW", "lr": 0.01}
SIZE, BATCH = 48, 12


def run(folder: Path, strategy: dict[str, Any] | None, n_iters: int, **changes: Any) -> Any:
    n_ranks = torch.distributed.get_world_size()
    recorder = SampleRecorder()
    runner = train_toy(
        folder,
        train_dataloader={**toy_loader(SIZE, BATCH // n_ranks), "drop_last": True},
        train_cfg={"by_epoch": False, "max_iters": n_iters, "val_interval": 10_000},
        optim_wrapper={"optimizer": ADAM, "clip_grad": {"max_norm": 0.5}},
        param_scheduler={"type": "CosineAnnealingLR", "by_epoch": False, "end": 200},
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 25, "by_epoch": False}},
        custom_hooks=[recorder],
        randomness={"seed": 2},
        **({"strategy": strategy} if n_ranks > 1 else {}),
        **changes,
    )
    return logged(runner), recorder.batches, runner.strategy.model_state_dict()


def of_all(ranks: list[Any]) -> tuple[list[float], list[list[float]]]:
    """The mean loss of each iteration, and the samples of its global batch in their order."""
    losses = [sum(values) / len(ranks) for values in zip(*(rank[0] for rank in ranks), strict=True)]
    batches = [
        [sample for group in zip(*parts, strict=True) for sample in group]
        for parts in zip(*(rank[1] for rank in ranks), strict=True)
    ]
    return losses, batches


def furthest(one: list[float], other: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


@pytest.mark.conformance
@pytest.mark.parametrize("name", STRATEGIES)
def test_two_hundred_iterations_are_those_of_one_process(tmp_path: Path, name: str) -> None:
    single = of_all(in_ranks(1, run, tmp_path / "single", None, 200))
    ranks = of_all(in_ranks(2, run, tmp_path / "ranks", STRATEGIES[name], 200))
    assert len(ranks[0]) == 200
    assert ranks[1] == single[1]
    assert furthest(ranks[0], single[0]) <= 1e-6


LONG = pytest.mark.conformance


@pytest.mark.parametrize(
    ("name", "n_each"), [("DDP", 6), pytest.param("DDP", 50, marks=LONG), pytest.param("FSDP", 50, marks=LONG)]
)
def test_four_then_two_then_one_then_four_processes_go_on_as_one(tmp_path: Path, name: str, n_each: int) -> None:
    """The same samples in the same order, and losses to 1e-5."""
    whole = of_all(in_ranks(1, run, tmp_path / "whole", None, 4 * n_each))
    losses: list[float] = []
    batches: list[list[float]] = []
    resume: dict[str, Any] = {}
    for part, n_ranks in enumerate((4, 2, 1, 4), 1):
        at = tmp_path / str(part)
        done = of_all(in_ranks(n_ranks, lambda: run(at, STRATEGIES[name], n_each * part, **resume)))  # noqa: B023
        losses, batches = losses + done[0][-n_each:], batches + done[1]
        resume = {"load_from": str(saved_at(at, f"iter_{n_each * part}")), "resume": True}
    assert batches == whole[1]
    assert furthest(losses, whole[0]) <= 1e-5


@pytest.mark.conformance
@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("n_ranks", [2, 3])
def test_a_resumed_run_is_bit_for_bit_the_whole_one(tmp_path: Path, name: str, n_ranks: int) -> None:
    assert in_ranks(n_ranks, resumed, tmp_path, STRATEGIES[name]) == [[]] * n_ranks


def resumed(folder: Path, strategy: dict[str, Any]) -> list[str]:
    return resume_differences(
        folder,
        strategy=strategy,
        randomness={"seed": 1, "deterministic": True},
        train_cfg={"by_epoch": True, "max_epochs": 6},
        optim_wrapper={"optimizer": ADAM, "accumulative_counts": 3},
    )
