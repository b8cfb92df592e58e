"""No message between ranks in an iteration beyond those of a loop written by hand around the same wrapper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.fsdp  # ranks are forked: they have it already
from torch import nn
from torch.nn import functional as F

from trainwright.base.errors import ConfigError
from trainwright.model import BaseModel
from trainwright.runner import Runner, agreement
from trainwright.testing.collectives import RECORDER, CollectivesPerIteration, recorded
from trainwright.testing.ranks import run_ranks

N_ITERS, LOG_EVERY = 12, 5


class Layer(nn.Linear):
    """A unit for FSDP."""


class Net(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(Layer(8, 8), nn.ReLU(), Layer(8, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor, mode: str = "tensor") -> Any:
        return {"loss": F.cross_entropy(self.layers(inputs), labels)}


class Batches:
    batch_size, num_workers, drop_last = 4, 0, False
    dataset = range(4 * N_ITERS)

    def __len__(self) -> int:
        return N_ITERS

    def __iter__(self) -> Any:
        return iter([(torch.ones(4, 8), torch.tensor([0, 1, 2, 3]))] * N_ITERS)


class CountedStore:
    """A store that counts what it is asked."""

    def __init__(self, store: Any, asked: list[str]) -> None:
        self._store, self._asked = store, asked

    def __getattr__(self, name: str) -> Any:
        self._asked.append(name)
        return getattr(self._store, name)


def by_hand(kind: str, accumulated: int) -> list[list[str]]:
    model: Any = Net()
    if kind == "DDPStrategy":
        model = nn.parallel.DistributedDataParallel(model)  # there are no buffers
    else:
        for module in reversed(list(model.modules())):
            if isinstance(module, Layer):
                torch.distributed.fsdp.fully_shard(module)
        torch.distributed.fsdp.fully_shard(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = CollectivesPerIteration()
    for index, batch in enumerate(Batches()):
        watch.mark()
        syncs = (index + 1) % accumulated == 0
        if kind == "DDPStrategy":
            model.require_backward_grad_sync = syncs
        else:
            model.set_requires_gradient_sync(syncs)
        (model(*batch, mode="loss")["loss"] / accumulated).backward()
        if syncs:
            optimizer.step()
            optimizer.zero_grad()
    watch.mark()
    return watch.found()


def both(folder: str, kind: str, accumulated: int) -> Any:
    expected = by_hand(kind, accumulated)
    watch, asked = CollectivesPerIteration(), []
    store = agreement.group_store
    agreement.group_store = lambda: CountedStore(store(), asked)  # type: ignore[assignment]  # of this process alone
    strategy: dict[str, Any] = {"type": kind, **({"wrap": ["Layer"]} if kind == "FSDPStrategy" else {})}
    Runner(
        model=Net(),
        work_dir=folder,
        strategy=strategy,
        train_dataloader=Batches(),
        train_cfg={"by_epoch": False, "max_iters": N_ITERS},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": accumulated},
        default_hooks={"logger": {"type": "LoggerHook", "interval": LOG_EVERY}},
        custom_hooks=[watch],
        log_processor={"by_epoch": False},
        log_level="WARNING",
    ).train()
    return expected, watch.found(), asked


@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize("kind", ["DDPStrategy", "FSDPStrategy"])
def test_iterations_have_the_collectives_of_a_loop_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, accumulated: int
) -> None:
    monkeypatch.setenv(RECORDER, "20000")
    for expected, found, asked in run_ranks(2, both, str(tmp_path), kind, accumulated):
        assert len(expected) == len(found) == N_ITERS
        assert any(expected)
        quiet = [index for index in range(N_ITERS - 1) if (index + 1) % LOG_EVERY]
        assert [found[index] for index in quiet] == [expected[index] for index in quiet]
        for index in range(LOG_EVERY - 1, N_ITERS - 1, LOG_EVERY):
            assert found[index][: len(expected[index])] == expected[index]
            assert len(found[index]) <= len(expected[index]) + 1, found[index]
        assert asked == ["check"] * N_ITERS  # whether a rank was asked to stop: one question to the store an iteration


def test_the_recorder_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RECORDER, raising=False)
    with pytest.raises(ConfigError, match=f"collectives are recorded where {RECORDER} is set"):
        recorded()


def overflow() -> Any:
    for _ in range(8):
        torch.distributed.barrier()
    with pytest.raises(ConfigError, match=f"the recorder is full, and drops the oldest: set {RECORDER} above 4"):
        recorded()


def test_a_full_recorder_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RECORDER, "4")
    run_ranks(2, overflow)
