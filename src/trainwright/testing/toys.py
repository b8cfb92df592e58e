"""A small task that uses every source of randomness, for tests of whole runs: data, model, metric, config."""

from __future__ import annotations

import os
import random
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from trainwright.engine import Hook
from trainwright.evaluation import BaseMetric
from trainwright.model import BaseModel
from trainwright.registry import DATASETS, METRICS, MODELS

DIM, CLASSES = 6, 3


@DATASETS.register_module()
class ToyDataset(Dataset[dict[str, Any]]):
    """`size` points in three clusters: ``{"inputs": (6,) float32, "label": int}``.

    `noise`: scale of an augmentation that draws from python's, numpy's and torch's stream for each sample. `fail_at`:
    the sample of that index cannot be read. `nan_at`: the inputs of that one are NaN.
    """

    metainfo = {"classes": ("a", "b", "c")}

    def __init__(
        self, size: int = 16, noise: float = 0.0, fail_at: int | None = None, nan_at: int | None = None
    ) -> None:
        generator = torch.Generator().manual_seed(1)
        self.labels = (torch.arange(size) % CLASSES).tolist()
        centres = torch.randn(CLASSES, DIM, generator=generator)
        self.points = centres[self.labels] + 0.5 * torch.randn(size, DIM, generator=generator)
        self.noise, self.fail_at, self.nan_at = noise, fail_at, nan_at

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == self.fail_at:
            raise OSError(f"the file of sample {index} is damaged")
        point = self.points[index]
        if self.noise:
            draws = random.random() + float(np.random.rand())
            point = point + self.noise * (draws + torch.randn(DIM))
        if index == self.nan_at:
            point = point * float("nan")
        return {"inputs": point, "label": self.labels[index]}


@MODELS.register_module()
class ToyModel(BaseModel):
    """Two linear layers with dropout between them. Predicts ``{"scores": (N, 3), "label": (N,)}``; `n_terms` losses.

    `noisy_eval`: prediction draws from torch's stream too, as sampling models do.
    """

    def __init__(
        self, dropout: float = 0.0, n_terms: int = 1, noisy_eval: bool = False, data_preprocessor: Any = None
    ) -> None:
        super().__init__(data_preprocessor)
        self.first, self.second = nn.Linear(DIM, 8), nn.Linear(8, CLASSES)
        self.dropout = nn.Dropout(dropout)
        self.n_terms, self.noisy_eval = n_terms, noisy_eval

    def forward(self, inputs: Any, label: Any = None, mode: str = "tensor") -> Any:
        """Losses, predictions or scores of inputs (N, 6) and labels (N,)."""
        scores = self.second(self.dropout(torch.relu(self.first(inputs))))
        if mode == "loss":
            loss = F.cross_entropy(scores, label)
            if self.n_terms == 1:
                return {"loss": loss}
            terms = {
                "loss_ce": loss,
                "loss_size": 1e-3 * scores.abs().mean(),
                "loss_square": 1e-4 * scores.square().mean(),
            }
            return dict(list(terms.items())[: self.n_terms])
        if mode == "predict":
            if self.noisy_eval:
                scores = scores + 1e-6 * torch.randn_like(scores)
            return {"scores": scores, "label": label}
        return scores


@METRICS.register_module()
class ScriptedMetric(BaseMetric):
    """Gives the values that it is told to, in turn: each of `script` maps metric names to lists of values."""

    default_prefix = "toy"

    def __init__(self, prefix: str | None = None, **script: Sequence[float]) -> None:
        super().__init__(prefix=prefix)
        self._script = {name: iter(values) for name, values in script.items()}

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Count the batch."""
        self.results.append(1)

    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        """The next value of each name."""
        return {name: next(values) for name, values in self._script.items()}


def toy_loader(size: int = 16, batch_size: int = 4, shuffle: bool = True, **settings: Any) -> dict[str, Any]:
    """The config of a loader; `settings` go to the loader, or to the dataset where that has them."""
    dataset = {name: settings.pop(name) for name in ("noise", "fail_at", "nan_at") if name in settings}
    return {
        "dataset": {"type": "ToyDataset", "size": size, **dataset},
        "sampler": {"type": "DefaultSampler", "shuffle": shuffle},
        "batch_size": batch_size,
        "collate_fn": {"type": "default_collate"},
        **settings,
    }


def toy_config(work_dir: str | os.PathLike[str], **changes: Any) -> dict[str, Any]:
    """A whole config: 2 epochs of 4 iterations, each validated; SGD. `changes` replace its keys, a None drops one."""
    config: dict[str, Any] = {
        "model": {"type": "ToyModel"},
        "work_dir": os.fspath(work_dir),
        "train_dataloader": toy_loader(),
        "train_cfg": {"by_epoch": True, "max_epochs": 2},
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}},
        "val_dataloader": toy_loader(8, shuffle=False),
        "val_cfg": {},
        "val_evaluator": {"type": "Accuracy"},
        "randomness": {"seed": 1},
        "log_level": "WARNING",
        **changes,
    }
    return {key: value for key, value in config.items() if value is not None}


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two trees of tensors and plain data differ, bit for bit; NaN equals NaN."""
    return list(_differences(one, other, where))


def _differences(one: Any, other: Any, where: str) -> Iterator[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in [*one, *(key for key in other if key not in one)]:
            if key in one and key in other:
                yield from _differences(one[key], other[key], f"{where}[{key!r}]")
            else:
                yield f"{where}[{key!r}] is on one side only"
    elif isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        for n, pair in enumerate(zip(one, other, strict=True)):
            yield from _differences(*pair, f"{where}[{n}]")
    elif isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if one.dtype != other.dtype or not torch.equal(_bits(one), _bits(other)):
            yield f"{where}: {one!r} is not {other!r}"
    elif one != other and not (one != one and other != other):
        yield f"{where}: {one!r} is not {other!r}"


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


class MovedClock(Hook):
    """A clock, called for its time in seconds, that a run moves on: `iter_s` an iteration, `val_s` a validation."""

    priority = "VERY_HIGH"

    def __init__(self, iter_s: float = 10.0, val_s: float = 0.0) -> None:
        self.now, self.iter_s, self.val_s = 1000.0, iter_s, val_s

    def __call__(self) -> float:
        return self.now

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """An iteration takes its time."""
        self.now += self.iter_s

    def before_val(self, runner: Any) -> None:
        """And so does a validation."""
        self.now += self.val_s


def awkward_tree() -> dict[str, Any]:
    """A state tree with all that makes copying hard: shared and overlapping memory, strides, layouts, no elements."""
    flat = torch.arange(24.0)
    weight = nn.Parameter(torch.randn(4, 3))
    image = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    ordered = OrderedDict(a=weight.detach(), b=weight.detach(), c=flat[3:9], d=flat[::2])
    vars(ordered)["_metadata"] = {"": {"version": 1}}
    return {
        "meta": {"iter": 1, "names": ["x", ("y", 2.5)], "none": None},
        "state_dict": ordered,
        "optimizer": {"state": {0: {"step": torch.tensor(3.0), "avg": image}}, "again": image, "empty": torch.empty(0)},
        "parameter": weight,
        "half": torch.randn(5).bfloat16(),
        "expanded": torch.ones(1).expand(7),
    }
