"""Whole runs under FSDPStrategy: as one process would, and exact when resumed, under another strategy too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from trainwright import Runner
from trainwright.checkpoint.kinds import read_checkpoint
from trainwright.checkpoint.manifest import Manifest
from trainwright.testing.rank_runs import (
    ADAM,
    CASES,
    EVERY_2,
    close,
    in_ranks,
    logged,
    resume_differences,
    run_cases,
    saved_at,
    train_toy,
)
from trainwright.testing.toys import toy_config, toy_loader

FSDP = {"type": "FSDPStrategy", "wrap": ["Linear"]}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    """One process, and two ranks with half of its batch each."""
    folder = tmp_path_factory.mktemp("fsdp")
    (single,) = in_ranks(1, run_cases, folder / "single", 8, None)
    return single, *in_ranks(2, run_cases, folder / "ranks", 4, FSDP)


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_do_what_one_process_does_with_the_whole_batch(results: Any, case: str) -> None:
    single, first, second = (result[case] for result in results)
    tolerance = 2e-3 if case == "amp" else 1e-6
    means = [(a + b) / 2 for a, b in zip(first["losses"], second["losses"], strict=True)]
    assert close(means, single["losses"], tolerance)
    assert close(first["norms"], single["norms"], tolerance)
    assert close(first["norms"], second["norms"], 0.0)
    assert close(first["tree"], single["tree"], 10 * tolerance)
    assert first["accuracy"] == second["accuracy"] == single["accuracy"]


def test_a_resumed_run_ends_bit_for_bit_as_the_whole_one(tmp_path: Path) -> None:
    assert in_ranks(2, resume_in_fsdp, tmp_path) == [[], []]


def resume_in_fsdp(folder: Path) -> list[str]:
    return resume_differences(folder, strategy=FSDP)


def part_of_a_run(folder: Path, strategy: dict[str, Any] | None, load_from: str | None) -> list[float]:
    runner = train_toy(
        folder,
        train_dataloader=toy_loader(16, 8 // torch.distributed.get_world_size()),
        train_cfg={"by_epoch": True, "max_epochs": 3},
        optim_wrapper={"optimizer": ADAM},
        custom_hooks=[{"type": "EMAHook", "momentum": 0.3}],
        default_hooks=EVERY_2,
        strategy=strategy,
        load_from=load_from,
        resume=load_from is not None,
    )
    return logged(runner)


def test_a_checkpoint_is_taken_up_by_any_strategy_and_number_of_ranks(tmp_path: Path) -> None:
    in_ranks(2, part_of_a_run, tmp_path / "fsdp", FSDP, None)
    saved = os.fspath(saved_at(tmp_path / "fsdp", "iter_2"))
    whole = read_checkpoint(saved_at(tmp_path / "fsdp", "iter_6"))
    for name, n_ranks, strategy in (("one", 1, None), ("ddp", 2, {"type": "DDPStrategy"}), ("three", 2, FSDP)):
        in_ranks(n_ranks, part_of_a_run, tmp_path / name, strategy, saved)
        rest = read_checkpoint(saved_at(tmp_path / name, "iter_6"))
        for part in ("state_dict", "optimizer", "ema_state_dict"):
            assert close(rest[part], whole[part], 1e-5), (name, part)
    in_ranks(2, part_of_a_run, tmp_path / "back", FSDP, os.fspath(tmp_path / "one" / "iter_4.pth"))
    rest = read_checkpoint(saved_at(tmp_path / "back", "iter_6"))
    assert close(rest["optimizer"], whole["optimizer"], 1e-5)


def test_each_rank_writes_its_own_part(tmp_path: Path) -> None:
    in_ranks(2, part_of_a_run, tmp_path / "fsdp", FSDP, None)
    step = tmp_path / "fsdp" / "iter_2"
    manifest = Manifest.read(step)
    assert manifest.world_size == 2
    weights = [name for name in manifest.tensors if name.endswith(".weight") or ".weight." in name]
    prefixes = ("state_dict.", "optimizer.state.", "ema_state_dict.")
    momenta = [name for name in manifest.tensors if name.endswith("exp_avg")]
    for prefix in prefixes:
        own = [name for name in (*weights, *momenta) if name.startswith(prefix)]
        assert own
        for name in own:
            first, second = manifest.tensors[name].chunks
            n_rows = manifest.tensors[name].shape[0]
            assert (first.offset[0], second.offset[0]) == (0, first.shape[0])
            assert first.shape[0] + second.shape[0] == n_rows
    sizes = [(step / f"tensors-0000{rank}-of-00002.safetensors").stat().st_size for rank in (0, 1)]
    assert min(sizes) > max(sizes) / 3


def state_without_sharing(folder: Path) -> tuple[Any, Any, bool]:
    runner = train_toy(folder, strategy=FSDP, train_cfg={"by_epoch": True, "max_epochs": 1})
    strategy = runner.strategy
    weights, state = strategy.model_state_dict(), strategy.optim_state_dict()
    before = {name: value.clone() for name, value in weights.items()}
    with torch.no_grad():
        for parameter in strategy.model.parameters():
            parameter.zero_()
    same = all(torch.equal(before[name], weights[name]) for name in before if not weights[name].is_meta)
    momenta = [values["momentum_buffer"].device.type for values in state["state"].values()]
    return [value.device.type for value in weights.values()], momenta, same


@pytest.mark.parametrize("n_ranks", [1, 2])
def test_the_whole_state_lies_on_rank_0_and_shares_nothing(tmp_path: Path, n_ranks: int) -> None:
    found = in_ranks(n_ranks, state_without_sharing, tmp_path)
    assert found[0] == (["cpu"] * 4, ["cpu"] * 4, True)
    assert [other[:2] for other in found[1:]] == [(["meta"] * 4, ["meta"] * 4)] * (n_ranks - 1)


def exchanges_of_a_run(folder: Path, counts: int) -> int:
    runner = Runner.from_cfg(
        toy_config(
            folder,
            train_dataloader=toy_loader(16, 2),
            train_cfg={"by_epoch": True, "max_epochs": 1},
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": counts},
            strategy={"type": "FSDPStrategy"},
        )
    )
    seen = []
    new = hasattr(torch.distributed, "reduce_scatter_single")  # torch 2.13 on
    name = "reduce_scatter_single" if new else "reduce_scatter_tensor"
    original = getattr(torch.distributed, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        seen.append(1)
        return original(*args, **kwargs)

    setattr(torch.distributed, name, counted)
    runner.train()
    return len(seen)


def test_gradients_are_exchanged_once_a_window(tmp_path: Path) -> None:
    assert in_ranks(2, exchanges_of_a_run, tmp_path / "two", 2) == [2, 2]
    assert in_ranks(2, exchanges_of_a_run, tmp_path / "one", 1) == [4, 4]


def settings_of_a_run(folder: Path, strategy: dict[str, Any]) -> tuple[int, list[float]]:
    runner = train_toy(folder, train_dataloader=toy_loader(16, 4), strategy={"type": "FSDPStrategy", **strategy})
    sharded = type(runner.strategy.model).__mro__[1]
    return sum(isinstance(module, sharded) for module in runner.strategy.model.modules()), logged(runner)


@pytest.mark.parametrize(
    ("strategy", "n_units"),
    [
        ({}, 1),
        ({"wrap": "Linear"}, 3),
        ({"min_params": 50}, 2),
        ({"reshard_after_forward": False, "wrap": ["Linear"]}, 3),
        ({"mixed_precision": {"param_dtype": "bfloat16", "reduce_dtype": "float32"}}, 1),
        ({"cpu_offload": True}, 1),
    ],
    ids=str,
)
def test_settings(results: Any, tmp_path: Path, strategy: dict[str, Any], n_units: int) -> None:
    first, second = in_ranks(2, settings_of_a_run, tmp_path, strategy)
    assert first[0] == n_units
    means = [(a + b) / 2 for a, b in zip(first[1], second[1], strict=True)]
    assert close(means, results[0]["plain"]["losses"], 2e-2 if "mixed_precision" in strategy else 1e-6)
