"""What the strategies of several processes refuse, and the pieces under them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainwright import Runner, dist
from trainwright.dist import gathered, gathered_tree, is_sharded, laid_out_as, local, whole
from trainwright.model import BaseModel, MMDistributedDataParallel
from trainwright.model.twin import twin_of
from trainwright.strategies import DDPStrategy, FSDPStrategy
from trainwright.testing.rank_runs import refused
from trainwright.testing.ranks import run_ranks
from trainwright.testing.toys import ToyModel, toy_config


@pytest.mark.parametrize("strategy", [DDPStrategy, FSDPStrategy])
def test_one_process_alone_is_told_how_to_start_several(tmp_path: Path, strategy: type) -> None:
    said = refused(lambda: strategy(work_dir=tmp_path))
    assert said.startswith(f"{strategy.__name__} trains in several processes, and there is this one alone: start the")
    assert "torchrun --nproc-per-node 2" in said


def no_log_folder(folder: Path) -> str:
    def refuse(path: Any, *args: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    if dist.get_rank() == 0:
        os.mkdir = refuse
    with pytest.raises(PermissionError, match="Permission denied") as caught:
        DDPStrategy(work_dir=folder)
    return os.path.dirname(caught.value.filename)


def test_all_ranks_fail_when_no_log_folder_can_be_made(tmp_path: Path) -> None:
    assert run_ranks(2, no_log_folder, tmp_path) == [str(tmp_path)] * 2


class OwnStep(ToyModel):
    def train_step(self, data: Any, optim_wrapper: Any) -> Any:
        return super().train_step(data, optim_wrapper)


def refusals(folder: Path) -> dict[str, str]:
    def of(model: nn.Module, **strategy: Any) -> str:
        return refused(lambda: Runner.from_cfg(toy_config(folder, model=model, strategy=strategy)))

    said = {
        "sync_bn": of(ToyModel(), type="DDPStrategy", sync_bn="torch"),
        "sync_bn name": of(ToyModel(), type="DDPStrategy", sync_bn="torh"),
        "step": of(OwnStep(), type="DDPStrategy"),
        "wrap": of(ToyModel(), type="FSDPStrategy", wrap=["Linera"]),
        "methods": of(ToyModel(), type="FSDPStrategy", forward_methods=["predit"]),
        "precision": of(ToyModel(), type="FSDPStrategy", mixed_precision={"param_dtipe": "bfloat16"}),
        "dtype": of(ToyModel(), type="FSDPStrategy", mixed_precision={"param_dtype": "bfloat61"}),
        "launcher": refused(
            lambda: Runner.from_cfg(
                toy_config(folder, launcher="pytorch", strategy={"type": "SingleDeviceStrategy"}, model=ToyModel())
            )
        ),
    }
    runner = Runner.from_cfg(toy_config(folder, strategy={"type": "DDPStrategy"}, compile={"target": "train_step"}))
    said["compile"] = refused(runner.train)
    return said


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    first, second = run_ranks(2, refusals, tmp_path)
    assert first == second
    starts = {
        "sync_bn": "sync_bn='torch' needs CUDA: SyncBatchNorm has no form for cpu. Leave sync_bn out",
        "sync_bn name": "sync_bn must be one of ('torch', 'mmcv'), got 'torh'. Did you mean 'torch'?",
        "step": "OwnStep has a train_step of its own, and MMDistributedDataParallel would not call it",
        "wrap": "FSDPStrategy wrap names 'Linera', and ToyModel has no module of that class or name. Did you mean",
        "methods": "FSDPStrategy forward_methods names 'predit', and ToyModel has no such method.",
        "precision": "mixed_precision has no setting 'param_dtipe'; it takes param_dtype, reduce_dtype",
        "dtype": "mixed_precision param_dtype='bfloat61' is none of float16, bfloat16, float32.",
        "launcher": "launcher='pytorch' started 2 processes, and SingleDeviceStrategy would train a model of its own",
        "compile": "compile target 'train_step' has no effect under DDPStrategy",
    }
    for name, start in starts.items():
        assert start in first[name], (name, first[name])


def with_detail() -> str:
    import os

    os.environ["TORCH_DISTRIBUTED_DEBUG"] = "DETAIL"
    return refused(lambda: DDPStrategy(work_dir=os.environ["TW_TEST_DIR"]))


def test_a_debug_level_that_crashes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TW_TEST_DIR", str(tmp_path))
    assert re.match("TORCH_DISTRIBUTED_DEBUG=DETAIL makes .* crash with gloo", run_ranks(1, with_detail)[0])


class Describing(BaseModel):
    """Computes outside forward too."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, inputs: Any, label: Any = None, mode: str = "tensor") -> Any:
        scores = self.layer(inputs)
        return {"loss": scores.square().mean()} if mode == "loss" else {"scores": scores, "label": label}

    def describe(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layer.weight.sum() + inputs.sum()

    def val_step(self, data: Any) -> Any:
        described = self.describe(data["inputs"])
        return {"scores": self.layer(data["inputs"]) + 0 * described, "label": data["label"]}


def methods_of(folder: Path) -> tuple[bool, bool]:
    strategy = {"type": "FSDPStrategy", "forward_methods": ["describe"]}
    runner = Runner.from_cfg(toy_config(folder, model=Describing(), strategy=strategy))
    described = runner.strategy.unwrapped_model.describe(torch.zeros(2, 6))  # type: ignore[operator]
    runner.val()
    return isinstance(described, torch.Tensor), all(map(is_sharded, runner.strategy.model.parameters()))


def test_other_methods_than_forward_find_whole_weights(tmp_path: Path) -> None:
    assert run_ranks(2, methods_of, tmp_path) == [(True, True)] * 2


def cut_and_joined() -> list[bool]:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    full = torch.arange(10.0).reshape(5, 2)
    cut = distribute_tensor(full, init_device_mesh("cpu", (2,)), [Shard(0)])
    rank = torch.distributed.get_rank()
    again, tree = laid_out_as(full, cut), gathered_tree({"a": [cut, 3], "b": (full,)})
    joined = gathered(cut)
    return [
        is_sharded(cut) and not is_sharded(full),
        torch.equal(local(again), local(cut)) and local(cut).shape == ((3, 2) if rank == 0 else (2, 2)),
        torch.equal(whole(cut), full) and whole(full) is full,
        torch.equal(joined, full) if rank == 0 else joined.is_meta and joined.shape == full.shape,
        tree["a"][1] == 3 and tree["b"][0] is full and not is_sharded(tree["a"][0]),
        laid_out_as(full, full) is full and laid_out_as(cut, cut) is cut and laid_out_as(3, cut) == 3,
    ]


def test_tensors_in_parts_are_made_whole_and_cut_again() -> None:
    assert run_ranks(2, cut_and_joined) == [[True] * 6] * 2


def test_the_twin_of_a_plain_model_is_a_copy() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    twin = twin_of(model)
    assert type(twin) is nn.Sequential
    assert [name for name, _ in twin.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert all(
        not torch.equal(p, p + 1) and p is not q for p, q in zip(twin.parameters(), model.parameters(), strict=True)
    )


def test_the_wrapper_names_what_it_cannot_unpack() -> None:
    def work() -> str:
        model = MMDistributedDataParallel(ToyModel(), broadcast_buffers=True, detect_anomalous_params=True)
        assert model.forward_sync_buffers if hasattr(model, "forward_sync_buffers") else model.broadcast_buffers
        return refused(lambda: model._run_forward(3, "loss"))

    assert "ToyModel: a batch must be a dict" in run_ranks(1, work)[0]
