"""Models and settings under FSDPStrategy that are known to go wrong: each trains as one process does."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trainwright import dist
from trainwright.checkpoint.kinds import read_checkpoint
from trainwright.model import BaseModel
from trainwright.registry import MODELS
from trainwright.runner import Runner
from trainwright.testing.rank_runs import ADAM, close, in_ranks, logged, saved_at
from trainwright.testing.toys import CLASSES, DIM, toy_config, toy_loader

HYBRID = {"type": "FSDPStrategy", "wrap": ["blocks.*"], "replicate": 2}


@MODELS.register_module()
class FsdpCaseModel(BaseModel):
    """Blocks with uneven sizes, tied weights, a frozen part, a buffer that is not saved, and a method of its own."""

    def __init__(self, has_norm: bool = False, draws: str = "xavier") -> None:
        super().__init__()
        self.draws = draws
        self.stem = nn.Linear(DIM, 7)
        norms = [nn.BatchNorm1d(7)] if has_norm else []
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(7, 7), *norms, nn.Tanh()) for _ in range(2))
        self.twin = nn.Linear(7, 7, bias=False)
        self.twin.weight = self.blocks[0][0].weight
        self.frozen = nn.Linear(7, 7)
        self.frozen.requires_grad_(False)
        self.head = nn.Linear(7, CLASSES)
        self.scale = nn.Parameter(torch.ones(7) + 0.1 * torch.randn(7))
        self.register_buffer("shift", torch.linspace(0.0, 0.1, 7), persistent=False)

    def init_weights(self) -> None:
        """Draw as models do; orthogonal weights come from a tensor of their own."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                module.weight.data[0].mul_(0.5)
        if self.draws == "orthogonal":
            nn.init.orthogonal_(self.head.weight)
            nn.init.trunc_normal_(self.stem.weight, std=0.3)

    def features(self, inputs: Any) -> Any:
        """(N, 6) -> (N, 7)."""
        x = self.stem(inputs)
        for block in self.blocks:
            x = x + block(x)
        return self.frozen(self.twin(x * self.scale)) + self.shift

    def forward(self, inputs: Any, label: Any = None, mode: str = "tensor") -> Any:
        scores = self.head(self.features(inputs))
        if mode == "loss":
            return {"loss": F.cross_entropy(scores, label)}
        return {"scores": scores, "label": label} if mode == "predict" else scores


def run(folder: Path, batch_size: int, strategy: dict[str, Any] | None, **changes: Any) -> tuple[Runner, list[float]]:
    config = {
        "model": {"type": "FsdpCaseModel"},
        "train_dataloader": toy_loader(32, batch_size),
        "optim_wrapper": {"optimizer": ADAM, "clip_grad": {"max_norm": 0.3}},
        "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1}},
        **changes,
    }
    runner = Runner.from_cfg(toy_config(folder, **({"strategy": strategy} if strategy else {}), **config))
    runner.train()
    return runner, logged(runner)


def state(folder: Path) -> dict[str, Any]:
    tree = read_checkpoint(saved_at(folder, "epoch_2"))
    for group in tree["optimizer"]["param_groups"]:
        group.pop("foreach")  # which form of the step was taken
        group.pop("fused")
    return {key: tree[key] for key in ("state_dict", "optimizer", "ema_state_dict") if key in tree}


# Name: (ranks, settings of the strategy, changes of the config).
CASES: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    "hybrid": (4, {**HYBRID}, {"custom_hooks": [{"type": "EMAHook", "momentum": 0.3}]}),
    "three": (3, {"wrap": ["blocks.*", "head"]}, {"custom_hooks": [{"type": "EMAHook", "momentum": 0.3}]}),
    "ignored": (2, {"wrap": ["blocks.*"], "ignored": ["stem", "scale"]}, {}),
    "accumulate": (2, {"ignored": ["stem"]}, {"optim_wrapper": {"optimizer": ADAM, "accumulative_counts": 2}}),
    "checkpointing": (2, {"wrap": ["blocks.*"], "activation_checkpointing": True}, {}),
    "compiled": (2, {"wrap": ["blocks.*"]}, {"compile": {"backend": "eager"}}),
    "meta": (2, {"wrap": ["blocks.*"], "init_on": "meta", "ignored": ["scale"]}, {}),
    "wrapper": (2, {"model_wrapper": {"type": "MMFullyShardedDataParallel", "sharding_strategy": "SHARD_GRAD_OP"}}, {}),
}


def run_case(folder: Path, name: str) -> Any:
    _, settings, changes = CASES[name]
    warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor")  # of torch, of what it compiles
    size = 24 // dist.get_world_size()
    strategy = None if dist.get_world_size() == 1 else {"type": "FSDPStrategy", **settings}
    if name == "wrapper" and strategy:  # where MMEngine's configs have it, with a launcher that says: several ranks
        strategy, changes = None, {"model_wrapper_cfg": settings["model_wrapper"], "launcher": "pytorch"}
    changes = {**changes, "train_dataloader": toy_loader(48, size // 2 if name == "accumulate" else size)}
    runner, losses = run(folder, size, strategy, **changes)
    counts = [p for p in runner.strategy.unwrapped_model.parameters() if dist.is_sharded(p)]
    return losses, runner.message_hub.get_scalar("val/accuracy/top1").current(), len(counts)


QUICK = ("hybrid", "ignored", "meta")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.conformance) for name in CASES]
)
def test_it_trains_as_one_process_does(tmp_path: Path, name: str) -> None:
    ((whole, accuracy, _),) = in_ranks(1, run_case, tmp_path / "one", name)
    found = in_ranks(CASES[name][0], run_case, tmp_path / "ranks", name)
    means = [sum(values) / len(values) for values in zip(*(losses for losses, _, _ in found), strict=True)]
    assert close(means, whole, 2e-6)
    assert {own for _, own, _ in found} == {accuracy}
    assert close(state(tmp_path / "ranks"), state(tmp_path / "one"), 2e-5)
    assert found[0][2] == 11 - {"ignored": 3, "accumulate": 2, "meta": 1}.get(name, 0)
