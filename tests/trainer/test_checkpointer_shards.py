"""Checkpoints of a model that is sharded over ranks, whoever knows of its trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint import read_checkpoint
from trainwright.dist import get_rank
from trainwright.strategies import FSDPStrategy
from trainwright.testing.ranks import run_ranks
from trainwright.trainer import Checkpointer, PeriodicCheckpointer, SimpleTrainer, TrainerBase


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(x)
        return out.square().mean()


class Outer(TrainerBase):
    """Knows no strategy: the trainer within has it."""

    def __init__(self, model: nn.Module, optimizer: Any) -> None:
        super().__init__()
        self.inner = SimpleTrainer(model, [torch.ones(2, 4)], optimizer, strategy=FSDPStrategy())

    def run_step(self) -> None:
        self.inner.iter = self.iter
        self.inner.run_step()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "inner": self.inner.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.inner.load_state_dict(state_dict["inner"])


def _trained(folder: str, kind: str, start: int, end: int) -> list[torch.Tensor]:
    torch.manual_seed(start)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    outer = Outer(model, optimizer)
    known: dict[str, Any] = {"trainer": outer} if kind == "outer" else {"optimizer": optimizer}
    checkpointer = Checkpointer(model, folder, **known)
    checkpointer.resume_or_load("")
    outer.train(start, end)
    checkpointer.save(f"after{end}", iteration=end - 1)  # when nobody trains
    return [value.full_tensor() for value in model.state_dict().values()]


def _all_of_it(folder: str) -> list[str]:
    """What is wrong."""
    wrong = []
    for kind in ("outer", "model and optimizer"):
        whole = _trained(f"{folder}/{kind}/whole", kind, 0, 6)
        half = _trained(f"{folder}/{kind}/cut", kind, 0, 3)
        saved = read_checkpoint(f"{folder}/{kind}/cut/after3.pth", "cpu")["model"]
        if not all(torch.equal(one, other) for one, other in zip(saved.values(), half, strict=True)):
            wrong.append(f"{kind}: saved")
        rest = _trained(f"{folder}/{kind}/cut", kind, 3, 6)
        if not all(torch.equal(one, other) for one, other in zip(rest, whole, strict=True)):
            wrong.append(f"{kind}: resumed")
    _refuses(folder)
    return wrong


def _refuses(folder: str) -> None:
    """A hook that saves on rank 0 alone is refused there before the first step."""
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = SimpleTrainer(model, [torch.ones(2, 4)], optimizer, strategy=FSDPStrategy())
    hook = PeriodicCheckpointer(Checkpointer(model, folder), 1)
    trainer.register_hooks([hook if get_rank() == 0 else None])
    if get_rank() == 1:
        trainer.train(0, 0)
        return
    with pytest.raises(CheckpointError, match="some ranks alone cannot save .*register the hooks that save on every"):
        trainer.train(0, 0)


def test_all_ranks_save_and_load_whole_tensors_and_some_alone_are_refused(tmp_path: Path) -> None:
    assert run_ranks(2, _all_of_it, str(tmp_path)) == [[], []]
