"""Optimizers of a user's own that are none of torch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from trainwright.base.errors import ConfigTypeError
from trainwright.trainer import SimpleTrainer


class Net(nn.Linear):
    def __init__(self) -> None:
        super().__init__(2, 1)
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).square().mean()


def trained(around: type | None) -> tuple[SimpleTrainer, Any]:
    model = Net()
    optimizer: Any = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    if around is not None:
        optimizer = around(optimizer)
    trainer = SimpleTrainer(model, [torch.ones(1, 2)], optimizer)
    trainer.train(0, 3)
    return trainer, optimizer


class Around:
    """No optimizer, but has one inside."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.optimizer, name)

    def zero_grad(self) -> None:
        self.calls.append("zero_grad")
        self.optimizer.zero_grad()


def test_an_object_around_an_optimizer_will_do() -> None:
    trainer, around = trained(Around)
    assert around.calls == ["zero_grad"] * 3
    assert trainer.optimizer is around
    assert torch.equal(trainer.model.weight, trained(None)[0].model.weight)  # type: ignore[arg-type]
    trainer.load_state_dict(trainer.state_dict())
    with pytest.raises(ConfigTypeError, match=r"of type Linear, which has no step, param_groups"):
        SimpleTrainer(Net(), [torch.ones(1, 2)], nn.Linear(1, 1))
