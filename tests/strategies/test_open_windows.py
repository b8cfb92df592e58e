"""Several ranks inside an accumulation window: what each holds apart is saved, resumed, and exchanged when the window
ends without a last loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from trainwright.checkpoint.kinds import read_checkpoint
from trainwright.engine import Hook
from trainwright.testing.rank_runs import (
    ADAM,
    close,
    exact_state,
    in_ranks,
    resume_differences,
    saved_at,
    train_toy,
)
from trainwright.testing.toys import ToyModel, differences, toy_loader

LAYOUTS = {"DDPStrategy": "file", "FSDPStrategy": "folder"}
STRATEGIES: dict[str, dict[str, Any]] = {
    "DDP": {"type": "DDPStrategy"},
    "DDP, views": {"type": "DDPStrategy", "model_wrapper": {"gradient_as_bucket_view": True}},
    "FSDP": {"type": "FSDPStrategy", "wrap": ["Linear"]},
    "FSDP, bf16": {
        "type": "FSDPStrategy",
        "mixed_precision": {"param_dtype": "bfloat16", "reduce_dtype": "float32"},
    },
}


def saves_every(n: int, layout: str) -> dict[str, Any]:
    return {"checkpoint": {"type": "CheckpointHook", "interval": n, "by_epoch": False, "layout": layout}}


def resumed_inside(folder: Path, strategy: dict[str, Any], layout: str) -> list[str]:
    """From iteration 4 on, which is the first of a window of three."""
    return resume_differences(
        folder,
        model={"type": "ToyModel"},
        strategy=strategy,
        default_hooks=saves_every(2, layout),
        randomness={"seed": 1, "deterministic": True},
        optim_wrapper={"optimizer": ADAM, "accumulative_counts": 3, "clip_grad": {"max_norm": 0.1}},
    )


LONG = pytest.mark.conformance
BOTH = [pytest.param(name, marks=() if name in ("DDP", "FSDP") else LONG) for name in STRATEGIES]


@pytest.mark.parametrize("layout", ["file", "folder"])
@pytest.mark.parametrize("name", BOTH)
def test_a_window_goes_on_bit_for_bit(tmp_path: Path, name: str, layout: str) -> None:
    assert in_ranks(2, resumed_inside, tmp_path, STRATEGIES[name], layout) == [[], []]
    tree = read_checkpoint(saved_at(tmp_path / "whole", "iter_4"))
    held = [set(item["gradients"]) for item in tree["ranks"]]
    assert held == [set(tree["state_dict"])] * 2
    first, second = (item["gradients"]["first.weight"] for item in tree["ranks"])
    assert first.shape == (8, 6)
    assert not torch.equal(first, second)
    assert "ranks" not in read_checkpoint(saved_at(tmp_path / "whole", "iter_6"))


def of_so_many(folder: Path, batch_size: int, strategy: dict[str, Any] | None, **resume: Any) -> Any:
    runner = train_toy(
        folder,
        train_dataloader=toy_loader(24, batch_size),
        train_cfg={"by_epoch": True, "max_epochs": 2},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.5, "momentum": 0.9}, "accumulative_counts": 3},
        randomness={"seed": 1},
        default_hooks=saves_every(4, "file"),
        **({"strategy": strategy} if strategy else {}),
        **resume,
    )
    return runner.strategy.model_state_dict()


@pytest.mark.parametrize("name", ["DDP", "FSDP"])
@pytest.mark.parametrize(("before", "after"), [(2, 1), pytest.param(1, 2, marks=LONG), pytest.param(2, 4, marks=LONG)])
def test_a_window_goes_on_with_another_number_of_ranks(tmp_path: Path, name: str, before: int, after: int) -> None:
    def run(n_ranks: int, folder: str, **resume: Any) -> Any:
        strategy = STRATEGIES[name] if n_ranks > 1 else None
        return in_ranks(n_ranks, lambda: of_so_many(tmp_path / folder, 4 // n_ranks, strategy, **resume))[0]

    whole = run(before, "whole")
    rest = run(after, "rest", load_from=str(tmp_path / "whole/iter_4.pth"), resume=True)
    assert close(dict(whole), dict(rest), 1e-6)


class LeavesOut(Hook):
    """Makes the loop leave out iterations, as LossGuardHook does."""

    def __init__(self, iterations: list[int]) -> None:
        self.iterations = iterations

    def before_train(self, runner: Any) -> None:
        from trainwright.engine.rewind import Detours

        runner.train_loop.detours = Detours(set(self.iterations))


def with_losses_left_out(folder: Path, batch_size: int, strategy: dict[str, Any] | None) -> Any:
    runner = train_toy(
        folder,
        train_dataloader=toy_loader(24, batch_size),
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.5}, "accumulative_counts": 2},
        custom_hooks=[LeavesOut([1, 4, 6, 7])],  # the last of a window, the first of one, and a whole one
        randomness={"seed": 1},
        **({"strategy": strategy} if strategy else {}),
    )
    return runner.strategy.model_state_dict(), runner.strategy.held_gradients()


@pytest.mark.parametrize("name", ["DDP", "FSDP"])
def test_a_window_whose_last_loss_is_left_out_is_exchanged_all_the_same(tmp_path: Path, name: str) -> None:
    (single,) = in_ranks(1, with_losses_left_out, tmp_path / "single", 4, None)
    ranks = in_ranks(2, with_losses_left_out, tmp_path / "ranks", 2, STRATEGIES[name])
    assert close(dict(ranks[0][0]), dict(single[0]), 1e-6)
    if name == "DDP":
        assert differences(ranks[0][0], ranks[1][0]) == []
    assert [held for _, held in ranks] == [{}, {}]


class NormedToy(ToyModel):
    """Its running statistics are those of each rank's own batches."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(6)

    def forward(self, inputs: Any, label: Any = None, mode: str = "tensor") -> Any:
        return super().forward(self.norm(inputs), label, mode)


def resumed_with_statistics(folder: Path, strategy: dict[str, Any], hooks: list[dict[str, Any]]) -> Any:
    torch.manual_seed(3)  # of the model, which is made before there is a run
    common: dict[str, Any] = {
        "train_dataloader": toy_loader(16, 2),
        "strategy": strategy,
        "randomness": {"seed": 1, "deterministic": True},
        "default_hooks": saves_every(2, LAYOUTS[strategy["type"]]),
        "custom_hooks": hooks,
    }
    whole = train_toy(folder / "whole", model=NormedToy(), **common)
    rest = train_toy(
        folder / "rest", model=NormedToy(), load_from=str(saved_at(folder / "whole", "iter_2")), resume=True, **common
    )
    ends = [exact_state(saved_at(folder / part, "iter_8")) for part in ("whole", "rest")]
    buffers = [dict(run.strategy.unwrapped_model.named_buffers()) for run in (whole, rest)]
    return differences(*ends), differences(*buffers), buffers[0]


@pytest.mark.parametrize("name", ["DDP", "FSDP"])
def test_each_rank_goes_on_with_its_own_statistics(tmp_path: Path, name: str) -> None:
    first, second = in_ranks(2, resumed_with_statistics, tmp_path, STRATEGIES[name], [])
    assert first[:2] == second[:2] == ([], [])
    tree = read_checkpoint(saved_at(tmp_path / "whole", "iter_8"))
    assert [set(item["buffers"]) for item in tree["ranks"]] == [{"norm.running_mean", "norm.running_var"}] * 2
    for rank, buffers in enumerate((first[2], second[2])):
        for key, value in tree["ranks"][rank]["buffers"].items():
            assert torch.equal(value, buffers[key]), key
    assert torch.equal(tree["state_dict"]["norm.running_mean"], first[2]["norm.running_mean"])
    assert not torch.equal(first[2]["norm.running_mean"], second[2]["norm.running_mean"])


def test_what_is_averaged_at_the_end_of_an_epoch_is_saved_once(tmp_path: Path) -> None:
    hooks = [{"type": "SyncBuffersHook"}]
    first, second = in_ranks(2, resumed_with_statistics, tmp_path, STRATEGIES["DDP"], hooks)
    assert first[:2] == second[:2] == ([], [])
    assert torch.equal(first[2]["norm.running_mean"], second[2]["norm.running_mean"])
    assert "ranks" in read_checkpoint(tmp_path / "whole/iter_2.pth")
