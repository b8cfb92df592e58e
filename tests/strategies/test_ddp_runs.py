"""Whole runs under DDPStrategy: as one process would, and exact when resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from trainwright import Runner
from trainwright.testing.rank_runs import ADAM, CASES, close, in_ranks, logged, resume_differences, run_cases, train_toy
from trainwright.testing.toys import ToyModel, toy_config, toy_loader

DDP = {"type": "DDPStrategy"}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    """One process, and two ranks with half of its batch each."""
    folder = tmp_path_factory.mktemp("ddp")
    (single,) = in_ranks(1, run_cases, folder / "single", 8, None)
    return single, *in_ranks(2, run_cases, folder / "ranks", 4, DDP)


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_do_what_one_process_does_with_the_whole_batch(results: Any, case: str) -> None:
    single, first, second = (result[case] for result in results)
    tolerance = 2e-3 if case == "amp" else 1e-6
    means = [(a + b) / 2 for a, b in zip(first["losses"], second["losses"], strict=True)]
    assert close(means, single["losses"], tolerance)
    assert close(first["norms"], single["norms"], tolerance)
    assert close(first["tree"], single["tree"], 10 * tolerance)
    assert first["accuracy"] == second["accuracy"] == single["accuracy"]


def test_each_rank_logs_its_own_losses(results: Any) -> None:
    assert results[1]["plain"]["losses"] != results[2]["plain"]["losses"]


@pytest.mark.parametrize(
    ("n_ranks", "wrapper", "counts"),
    [(2, {}, 1), (3, {}, 1), (3, {"static_graph": True}, 1), (3, {"gradient_as_bucket_view": True}, 2)],
    ids=str,
)
def test_a_resumed_run_ends_bit_for_bit_as_the_whole_one(
    tmp_path: Path, n_ranks: int, wrapper: dict[str, Any], counts: int
) -> None:
    assert in_ranks(n_ranks, resume_in_ddp, tmp_path, wrapper, counts) == [[]] * n_ranks


def resume_in_ddp(folder: Path, wrapper: dict[str, Any], counts: int) -> list[str]:
    return resume_differences(
        folder,
        strategy={"type": "DDPStrategy", "model_wrapper": wrapper},
        randomness={"seed": 1, "deterministic": True},
        optim_wrapper={"optimizer": ADAM, "accumulative_counts": counts},
    )


def buckets_of_a_run(folder: Path, counts: int) -> int:
    runner = Runner.from_cfg(
        toy_config(
            folder,
            train_dataloader=toy_loader(16, 2),
            train_cfg={"by_epoch": True, "max_epochs": 1},
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": counts},
            strategy=DDP,
        )
    )
    seen = []

    def averaged(state, bucket):  # torch reads the annotations, and wants no strings
        seen.append(bucket.index())
        return allreduce_hook(state, bucket)

    model: Any = runner.model
    model.register_comm_hook(None, averaged)
    runner.train()
    assert runner.iter == 4
    return len(seen)


def test_gradients_are_exchanged_once_a_window(tmp_path: Path) -> None:
    assert in_ranks(2, buckets_of_a_run, tmp_path, 2) == [2, 2]


def step_for_nothing(folder: Path, deterministic: bool) -> tuple[list[float], Any, int]:
    torch.manual_seed(0)  # of the model, which is made before there is a run
    runner = Runner.from_cfg(
        toy_config(
            folder,
            model=NormedToy(),
            train_dataloader=toy_loader(16, 2),
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": 2},
            strategy={"type": "DDPStrategy"},
            randomness={"seed": 1, "deterministic": deterministic},
        )
    )
    forwards = []
    runner.strategy.unwrapped_model.register_forward_hook(lambda *_: forwards.append(runner.is_training))
    runner.train()
    return logged(runner), runner.strategy.model_state_dict(), len(forwards)


class NormedToy(ToyModel):
    """With buffers, and dropout."""

    def __init__(self) -> None:
        super().__init__(dropout=0.3)
        self.norm = torch.nn.BatchNorm1d(6)

    def forward(self, inputs: Any, label: Any = None, mode: str = "tensor") -> Any:
        return super().forward(self.norm(inputs), label, mode)


def test_the_step_for_nothing_leaves_nothing_behind(tmp_path: Path) -> None:
    plain = in_ranks(2, step_for_nothing, tmp_path / "plain", False)
    warmed = in_ranks(2, step_for_nothing, tmp_path / "warmed", True)
    assert [run[2] - other[2] for run, other in zip(warmed, plain, strict=True)] == [1, 1]
    assert close([run[:2] for run in warmed], [run[:2] for run in plain], 1e-6)


def frozen_for_a_while(folder: Path) -> tuple[list[float], Any]:
    runner = train_toy(
        folder,
        train_dataloader=toy_loader(16, 4 if torch.distributed.get_world_size() == 2 else 8),
        train_cfg={"by_epoch": True, "max_epochs": 3},
        custom_hooks=[{"type": "FreezeHook", "modules": "first", "begin": 1, "end": 3, "by_epoch": False}],
        **({"strategy": DDP} if torch.distributed.get_world_size() == 2 else {}),
    )
    return logged(runner), runner.strategy.model_state_dict()


def test_what_is_frozen_and_thaws_is_exchanged_again(tmp_path: Path) -> None:
    (single,) = in_ranks(1, frozen_for_a_while, tmp_path / "single")
    first, second = in_ranks(2, frozen_for_a_while, tmp_path / "ranks")
    assert close(first[1], second[1], 0.0)
    assert close(first[1], single[1], 1e-6)
