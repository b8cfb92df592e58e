"""What strategies are asked to train: a small model with a transformer's feed-forward blocks, on a toy data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from trainwright.model import BaseModel
from trainwright.optim import OptimWrapperDict, build_optim_wrapper
from trainwright.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from trainwright.runner import Runner
from trainwright.testing.toys import CLASSES, DIM, toy_config, toy_loader

WIDTH = 8
GLOBAL_BATCH = 8
SGD = {"type": "SGD", "lr": 0.1}
ADAM = {"type": "AdamW", "lr": 0.02}


class ConformanceBlock(nn.Module):
    """A residual feed-forward block, (N, 8) to (N, 8)."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The block of inputs (N, 8)."""
        change: torch.Tensor = self.dropout(self.fc2(torch.relu(self.fc1(self.norm(inputs)))))
        return inputs + change


@MODELS.register_module()
class ConformanceModel(BaseModel):
    """``embed``, two blocks ``blocks.*`` with ``norm``, ``fc1`` and ``fc2``, and ``head``: points (N, 6), 3 classes.

    `batch_norm`: one before everything. `tied`: two further layers, ``stem`` and ``out``, with one weight.
    `overflow_at`: in that training iteration (from 0) the gradients of the last rank are infinite, its loss a number.
    """

    def __init__(
        self,
        dropout: float = 0.0,
        batch_norm: bool = False,
        tied: bool = False,
        overflow_at: int | None = None,
        data_preprocessor: Any = None,
    ) -> None:
        super().__init__(data_preprocessor)
        self.bn = nn.BatchNorm1d(DIM) if batch_norm else nn.Identity()
        self.embed = nn.Linear(DIM, WIDTH)
        self.blocks = nn.ModuleList(ConformanceBlock(dropout) for _ in range(2))
        self.stem = nn.Linear(WIDTH, WIDTH) if tied else nn.Identity()
        self.out = nn.Linear(WIDTH, WIDTH) if tied else nn.Identity()
        if tied:
            self.out.weight = self.stem.weight
        self.head = nn.Linear(WIDTH, CLASSES)
        self.overflow_at, self.n_losses, self.n_inits = overflow_at, 0, 0

    def init_weights(self) -> None:
        """Count the call."""
        self.n_inits += 1
        super().init_weights()

    def forward(self, inputs: Any, label: Any = None, mode: str = "tensor") -> Any:
        """The loss, predictions or scores of inputs (N, 6) and labels (N,)."""
        features = self.stem(self.embed(self.bn(inputs)))
        for block in self.blocks:
            features = block(features)
        if mode == "loss":
            features = self._overflowing(features)
        scores = self.head(self.out(features))
        if mode == "loss":
            return {"loss": F.cross_entropy(scores.float(), label)}
        return {"scores": scores, "label": label} if mode == "predict" else scores

    def _overflowing(self, features: torch.Tensor) -> torch.Tensor:
        if self.overflow_at is None:
            return features
        self.n_losses += 1
        is_last = not torch.distributed.is_initialized() or (
            torch.distributed.get_rank() == torch.distributed.get_world_size() - 1
        )
        if self.n_losses != self.overflow_at + 1 or not is_last:
            return features
        return _InfiniteBackward.apply(features)  # type: ignore[no-any-return,no-untyped-call]


class _InfiniteBackward(torch.autograd.Function):
    """Nothing on the way forward; infinite gradients on the way back."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return torch.full_like(gradient, float("inf"))


@MODELS.register_module()
class ConformancePair(BaseModel):
    """Two parts with an optimizer each, trained in turn as in a GAN: ``maker`` and ``judge``."""

    def __init__(self, data_preprocessor: Any = None) -> None:
        super().__init__(data_preprocessor)
        self.maker = nn.Sequential(nn.Linear(DIM, WIDTH), nn.Linear(WIDTH, DIM))
        self.judge = nn.Linear(DIM, 1)

    def forward(self, inputs: Any, label: Any = None, mode: str = "tensor") -> Any:
        """How real what is made of inputs (N, 6) looks, (N, 1)."""
        return self.judge(self.maker(inputs))

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        """One step of the judge, then one of the maker."""
        points = self.data_preprocessor(data, True)["inputs"]
        with optim_wrapper["judge"].optim_context(self.judge):
            real, made = self.judge(points), self.judge(self.maker(points).detach())
            judged = F.softplus(-real).mean() + F.softplus(made).mean()
        optim_wrapper["judge"].update_params(judged)
        with optim_wrapper["maker"].optim_context(self.maker):
            fooled = F.softplus(-self.judge(self.maker(points))).mean()
        optim_wrapper["maker"].update_params(fooled)
        return {"loss": (judged + fooled).detach()}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class ConformancePairConstructor:
    """An optimizer wrapper for each child of the model that the config names."""

    def __init__(self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None) -> None:
        self.parts = optim_wrapper_cfg

    def __call__(self, model: nn.Module) -> OptimWrapperDict:
        """The wrappers of the children of `model`, by name."""
        wrappers: dict[str, Any] = {
            name: build_optim_wrapper(model.get_submodule(name), dict(cfg)) for name, cfg in self.parts.items()
        }
        return OptimWrapperDict(**wrappers)


@dataclass
class Task:
    """What one rank needs to train under the strategy; `strategy` None is one process."""

    folder: Path
    strategy: dict[str, Any] | None
    n_data_ranks: int
    optim_wrapper: dict[str, Any]

    def loader(self, size: int = 32, batch: int = GLOBAL_BATCH, **settings: Any) -> dict[str, Any]:
        """The config of a loader of batches that have `batch` samples over all ranks."""
        return toy_loader(size, batch // self.n_data_ranks, **settings)

    def config(self, name: str, data: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        """A config whose work_dir is of that name: 2 epochs of 4 batches of 8 samples, each validated. `data` goes to
        the training loader; `changes` replace other keys, a None drops one."""
        given = changes.pop("optim_wrapper", {})
        is_single = "constructor" not in given  # else there is a wrapper for each part
        wrapper = {**self.optim_wrapper, "optimizer": SGD, **given} if is_single else given
        return toy_config(
            self.folder / name,
            **{
                "model": {"type": "ConformanceModel"},
                "train_dataloader": self.loader(**(data or {})),
                "val_dataloader": self.loader(13, shuffle=False),
                "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": -1}},
                "strategy": self.strategy,
                "log_level": "ERROR",
                "optim_wrapper": wrapper,
                **changes,
            },
        )

    def runner(self, name: str, **changes: Any) -> Runner:
        """A runner of :meth:`config`."""
        return Runner.from_cfg(self.config(name, **changes))

    def train(self, name: str, **changes: Any) -> Runner:
        """A run of :meth:`config`, trained to its end."""
        runner = self.runner(name, **changes)
        runner.train()
        return runner
