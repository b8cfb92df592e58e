"""Tensor parallel, alone and with FSDP: the numbers of one process, and its checkpoints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader, DistributedSampler

from trainwright import dist
from trainwright.base.errors import ConfigError
from trainwright.checkpoint.kinds import read_checkpoint
from trainwright.checkpoint.manifest import Manifest
from trainwright.engine import Hook
from trainwright.testing.rank_runs import (
    ADAM,
    CASES,
    EVERY_2,
    SampleRecorder,
    close,
    in_ranks,
    logged,
    resume_differences,
    run_cases,
    saved_at,
    train_toy,
)
from trainwright.testing.toy_transformer import PLAN, SEQUENCE_PLAN
from trainwright.testing.toys import ToyDataset, toy_loader

TOY_PLAN = {"first": "colwise", "second": "rowwise"}
TENSOR = {"type": "TensorParallelStrategy", "plan": TOY_PLAN}
BOTH = {"type": "FSDPStrategy", "tensor_parallel": {"size": 2, "plan": TOY_PLAN}}
TRANSFORMER = {"type": "ToyTransformer"}


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return in_ranks(1, run_cases, tmp_path_factory.mktemp("single"), 8, None)[0]


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return in_ranks(2, run_cases, tmp_path_factory.mktemp("tensor"), 8, TENSOR)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return in_ranks(4, run_cases, tmp_path_factory.mktemp("grid"), 4, BOTH)


@pytest.mark.parametrize("case", CASES)
def test_a_tensor_group_does_what_one_process_does(single: Any, group: Any, case: str) -> None:
    tolerance = 2e-3 if case == "amp" else 1e-6
    whole, first, second = (found[case] for found in (single, *group))
    assert close(first["losses"], whole["losses"], tolerance)
    assert first["losses"] == second["losses"]
    assert close(first["norms"], whole["norms"], tolerance)
    assert first["norms"] == second["norms"]
    assert close(first["tree"], whole["tree"], 10 * tolerance)
    assert first["accuracy"] == second["accuracy"] == whole["accuracy"]


@pytest.mark.conformance
@pytest.mark.parametrize("case", CASES)
def test_two_tensor_groups_do_what_one_process_does_with_the_whole_batch(single: Any, grid: Any, case: str) -> None:
    tolerance = 2e-3 if case == "amp" else 1e-6
    whole, (first, beside, second, _) = single[case], (found[case] for found in grid)
    means = [(a + b) / 2 for a, b in zip(first["losses"], second["losses"], strict=True)]
    assert close(means, whole["losses"], tolerance)
    assert first["losses"] == beside["losses"] != second["losses"]
    assert close(first["norms"], whole["norms"], tolerance)
    assert close(first["norms"], second["norms"], 0.0)
    assert close(first["tree"], whole["tree"], 10 * tolerance)
    assert {found[case]["accuracy"] for found in grid} == {whole["accuracy"]}


# -- the styles --------------------------------------------------------------------------------------------------------


def transformer_run(folder: Path, model: dict[str, Any], strategy: Any, batch_size: int, changes: Any) -> Any:
    runner = train_toy(
        folder,
        model={**TRANSFORMER, **model},
        strategy=strategy,
        train_dataloader=toy_loader(16, batch_size),
        train_cfg={"by_epoch": True, "max_epochs": 4},
        default_hooks={"checkpoint": None},
        **{"optim_wrapper": {"optimizer": ADAM, "clip_grad": {"max_norm": 0.5}}, **changes},
    )
    return logged(runner), logged(runner, "grad_norm"), runner.message_hub.get_scalar("val/accuracy/top1").current()


def adam(**settings: Any) -> dict[str, Any]:
    return {"optim_wrapper": {"optimizer": {**ADAM, **settings}, "clip_grad": {"max_norm": 0.5}}}


QUERY_NORMS = {"channels": 16, "norms": True}
GATHERED_HEAD = {**PLAN, "head": "colwise_gather"}
# Name: (the model's settings, plan, other settings of the run)
STYLES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "tied": ({"tied": True}, GATHERED_HEAD, {}),
    "sequence": ({}, SEQUENCE_PLAN, {}),
    "query_norms": (QUERY_NORMS, {**PLAN, "layers.*.attention.norm": "replicate_sum"}, adam(foreach=True)),
    "checkpointing": ({}, PLAN, {"activation_checkpointing": ["layers.0", "layers.1"], **adam(fused=True)}),
    "compiled": ({}, SEQUENCE_PLAN, {"compile": {"backend": "aot_eager"}}),
}


@pytest.mark.conformance
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # of torch, of what it compiles
@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("form", ["tensor", "grid"])
def test_losses_and_norms_are_those_of_one_process(tmp_path: Path, name: str, form: str) -> None:
    model, plan, changes = STYLES[name]
    ((losses, norms, accuracy),) = in_ranks(1, transformer_run, tmp_path / "one", model, None, 8, changes)
    if form == "tensor":
        strategy: dict[str, Any] = {"type": "TensorParallelStrategy", "plan": plan}
        found = in_ranks(2, transformer_run, tmp_path / "ranks", model, strategy, 8, changes)
    else:
        both = {"size": 2, "plan": plan}
        strategy = {"type": "FSDPStrategy", "tensor_parallel": both, "wrap": ["ToyLayer"]}
        found = in_ranks(4, transformer_run, tmp_path / "ranks", model, strategy, 4, changes)
    means = [(a + b) / 2 for a, b in zip(found[0][0], found[-1][0], strict=True)]
    assert close(means, losses, 1e-5)
    assert close(found[0][1], norms, 1e-5 * max(norms) + 1e-5)
    assert {one[2] for one in found} == {accuracy}


@pytest.mark.conformance
def test_four_ranks_of_one_group_do_as_well(tmp_path: Path) -> None:
    ((losses, _, _),) = in_ranks(1, transformer_run, tmp_path / "one", {}, None, 8, {})
    strategy = {"type": "TensorParallelStrategy", "plan": PLAN}
    for found in in_ranks(4, transformer_run, tmp_path / "ranks", {}, strategy, 8, {}):
        assert close(found[0], losses, 1e-5)


# -- checkpoints, and the data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_ranks", [2, pytest.param(4, marks=pytest.mark.conformance)])
def test_a_resumed_run_ends_bit_for_bit_as_the_whole_one(tmp_path: Path, n_ranks: int) -> None:
    strategy = TENSOR if n_ranks == 2 else BOTH
    assert in_ranks(n_ranks, resume_in, tmp_path, strategy) == [[]] * n_ranks


def resume_in(folder: Path, strategy: dict[str, Any]) -> list[str]:
    return resume_differences(folder, strategy=strategy, randomness={"seed": 1, "diff_rank_seed": True})


class StateOfData(Hook):
    """State that goes with the samples which a rank sees."""

    state_is_per_rank = True

    def state_dict(self) -> dict[str, Any]:
        return dict(zip(("rank", "size"), dist.data_info(), strict=True))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state["rank"] == dist.data_info()[0] % state["size"]


def part_of_a_run(folder: Path, strategy: Any, data_size: int, load_from: str | None) -> list[list[float]]:
    recorder = SampleRecorder()
    runner = train_toy(
        folder,
        train_dataloader=toy_loader(16, 8 // data_size, noise=0.1),
        train_cfg={"by_epoch": True, "max_epochs": 3},
        optim_wrapper={"optimizer": {**ADAM, "foreach": True}},
        param_scheduler={"type": "CosineAnnealingLR", "by_epoch": False},
        auto_scale_lr={"base_batch_size": 8, "enable": True},
        custom_hooks=[{"type": "EMAHook", "momentum": 0.3}, recorder, StateOfData()],
        default_hooks=EVERY_2,
        strategy=strategy,
        load_from=load_from,
        resume=load_from is not None,
    )
    assert runner.optim_wrapper.optimizer.param_groups[0]["initial_lr"] == pytest.approx(0.05)
    return recorder.batches


def global_order(found: list[list[list[float]]], tensor_size: int) -> list[list[float]]:
    """The samples of each iteration, in the order of the data; ranks of a tensor group must have seen the same."""
    columns = found[::tensor_size]
    for column, rank in zip(columns, range(0, len(found), tensor_size), strict=True):
        assert all(other == column for other in found[rank : rank + tensor_size])
    return [[sample for row in zip(*parts, strict=True) for sample in row] for parts in zip(*columns, strict=True)]


LAYOUTS: dict[str, tuple[int, Any, int, int]] = {  # ranks, strategy, data ranks, tensor size
    "one": (1, None, 1, 1),
    "ddp": (2, {"type": "DDPStrategy"}, 2, 1),
    "tensor": (2, TENSOR, 1, 2),
    "grid": (4, BOTH, 2, 2),
}
PAIRS = [("tensor", "one"), ("one", "tensor"), ("grid", "ddp"), ("ddp", "tensor"), ("tensor", "grid"), ("one", "grid")]


@pytest.mark.parametrize(
    ("before", "after"),
    [pytest.param(*pair, marks=[] if pair == ("grid", "ddp") else pytest.mark.conformance) for pair in PAIRS],
)
def test_any_layout_goes_on_where_another_one_was(tmp_path: Path, before: str, after: str) -> None:
    n_ranks, strategy, data_size, tensor_size = LAYOUTS[before]
    found = in_ranks(n_ranks, part_of_a_run, tmp_path / "whole", strategy, data_size, None)
    order = global_order(found, tensor_size)
    assert len(set(order[0] + order[1])) == 16  # each sample once
    whole = read_checkpoint(saved_at(tmp_path / "whole", "iter_6"))
    n_ranks, strategy, data_size, tensor_size = LAYOUTS[after]
    saved = os.fspath(saved_at(tmp_path / "whole", "iter_2"))
    found = in_ranks(n_ranks, part_of_a_run, tmp_path / "rest", strategy, data_size, saved)
    assert global_order(found, tensor_size) == order[2:]
    rest = read_checkpoint(saved_at(tmp_path / "rest", "iter_6"))
    for part in ("state_dict", "optimizer", "ema_state_dict"):
        assert close(rest[part], whole[part], 1e-5), part
    assert rest["param_schedulers"] == whole["param_schedulers"]


def test_each_rank_writes_its_own_part(tmp_path: Path) -> None:
    in_ranks(2, part_of_a_run, tmp_path / "run", TENSOR, 1, None)
    tensors = Manifest.read(tmp_path / "run" / "iter_2").tensors
    n_chunks = {name: len(tensors[f"state_dict.{name}"].chunks) for name in ("first.weight", "second.weight")}
    assert n_chunks == {"first.weight": 2, "second.weight": 2}
    assert len(tensors["state_dict.second.bias"].chunks) == 1
    second = tensors["state_dict.second.weight"].chunks
    assert [chunk.offset for chunk in second] == [(0, 0), (0, 4)]


def evaluated(folder: Path, strategy: Any) -> list[Any]:
    runner = train_toy(
        folder,
        strategy=strategy,
        train_cfg={"by_epoch": True, "max_epochs": 1},
        train_dataloader=toy_loader(16, 4),
        val_dataloader=toy_loader(7, 2, shuffle=False),
        val_cfg={"loss": True},
        default_hooks={"checkpoint": None},
    )
    loop = runner.val_loop
    return [runner.message_hub.get_scalar(f"val/{name}").current() for name in ("accuracy/top1", "loss")] + [
        len(loop.dataloader.sampler),
        loop.dataloader.sampler.rank,
    ]


@pytest.mark.conformance
def test_an_evaluation_takes_every_sample_once(tmp_path: Path) -> None:
    found = in_ranks(4, evaluated, tmp_path / "grid", BOTH)
    assert [one[2:] for one in found] == [[4, 0], [4, 0], [4, 1], [4, 1]]
    assert len({tuple(one[:2]) for one in found}) == 1
    assert found[0][0] in [pytest.approx(100 * n / 7) for n in range(8)]


def window_run(folder: Path, strategy: Any, data_size: int, load_from: str | None) -> None:
    train_toy(
        folder,
        train_dataloader=toy_loader(24, 4 // data_size),
        optim_wrapper={"optimizer": ADAM, "accumulative_counts": 3},
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 4, "by_epoch": False}},
        strategy=strategy,
        load_from=load_from,
        resume=load_from is not None,
    )


@pytest.mark.conformance
@pytest.mark.parametrize(("before", "after"), [("tensor", "one"), ("ddp", "tensor"), ("grid", "tensor")])
def test_an_open_window_goes_on_under_another_layout(tmp_path: Path, before: str, after: str) -> None:
    n_ranks, strategy, data_size, _ = LAYOUTS[before]
    in_ranks(n_ranks, window_run, tmp_path / "whole", strategy, data_size, None)
    n_ranks, strategy, data_size, _ = LAYOUTS[after]
    saved = os.fspath(saved_at(tmp_path / "whole", "iter_4"))  # of windows of 3
    in_ranks(n_ranks, window_run, tmp_path / "rest", strategy, data_size, saved)
    one, other = (read_checkpoint(saved_at(tmp_path / part, "iter_12")) for part in ("whole", "rest"))
    assert close(one["state_dict"], other["state_dict"], 1e-5)
    assert close(one["optimizer"], other["optimizer"], 1e-5)


class OverflowOnRank1(Hook):
    """In the second update the part of a gradient that rank 1 has is infinite."""

    def before_train(self, runner: Any) -> None:
        n_updates = iter(range(100))
        param = runner.optim_wrapper.param_groups[0]["params"][0]

        def spoil() -> None:
            if next(n_updates) == 1 and dist.get_rank() == 1:
                dist.local(param.grad)[0] = float("inf")

        runner.optim_wrapper.before_step(spoil)


def scaled_run(folder: Path) -> tuple[list[float], float]:
    scaled = {"type": "AmpOptimWrapper", "dtype": "float16", "loss_scale": {"init_scale": 256.0}}
    wrapper = {**scaled, "optimizer": {"type": "SGD", "lr": 0.1}}
    runner = train_toy(folder, strategy=TENSOR, optim_wrapper=wrapper, custom_hooks=[OverflowOnRank1()])
    return logged(runner), runner.optim_wrapper.state_dict()["loss_scaler"]["scale"]


@pytest.mark.conformance
def test_an_overflow_in_one_part_leaves_the_step_out_on_all_ranks(tmp_path: Path) -> None:
    first, second = in_ranks(2, scaled_run, tmp_path)
    assert first == second
    assert first[1] == 128.0


def with_a_loader_made_before(folder: Path) -> str:
    loader = DataLoader(ToyDataset(16), batch_size=4, sampler=DistributedSampler(range(16)))  # of all ranks
    with pytest.raises(ConfigError) as error:
        train_toy(folder, strategy=TENSOR, train_dataloader=loader)
    return str(error.value)


def test_a_loader_made_before_must_give_a_group_the_same_samples(tmp_path: Path) -> None:
    for text in in_ranks(2, with_a_loader_made_before, tmp_path):
        assert "DistributedSampler divides the samples among 2 ranks" in text
