"""A resumed training is, bit for bit, the one that nobody stopped."""

from __future__ import annotations

import contextlib
import functools
import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from trainwright.base.errors import ConfigError
from trainwright.data import DefaultSampler, KeyedDataLoader
from trainwright.optim import OptimWrapper
from trainwright.strategies import DDPStrategy, FSDPStrategy
from trainwright.testing.ranks import run_ranks
from trainwright.trainer import (
    AMPTrainer,
    CallbackHook,
    Checkpointer,
    LRScheduler,
    PeriodicCheckpointer,
    SimpleTrainer,
    TrainerBase,
)

N = 22  # samples: a pass has five batches of 4, and one of 2


class Noisy(Dataset[torch.Tensor]):
    """Samples with noise of all random streams."""

    def __init__(self, n: int = N) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.rand(4) + index / self.n + random.random() + float(np.random.rand())


class Net(nn.Module):
    """Draws random numbers in its forward, and has buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1)
        self.dropout = nn.Dropout(0.3)
        self.seen: list[float] = []

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        self.seen.append(x.sum().item())
        out = self.last(self.dropout(self.norm(self.first(x)).relu()))
        return {"fit": out.square().mean(), "size": out.abs().mean() * 0.1}


class Run:
    """One training: a trainer with what it needs, and a folder."""

    def __init__(
        self,
        folder: Path,
        loader: Callable[[], Any],
        kind: type[SimpleTrainer] = SimpleTrainer,
        wrap: Callable[[Any], Any] = lambda optimizer: optimizer,
        **kwargs: Any,
    ) -> None:
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        self.model = Net()
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)
        self.trainer = kind(self.model, loader(), wrap(optimizer), **kwargs)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.9)
        self.checkpointer = Checkpointer(self.model, folder, trainer=self.trainer)
        saver = PeriodicCheckpointer(self.checkpointer, 1000)
        self.trainer.register_hooks([LRScheduler(scheduler=scheduler), saver])

    def cut_after(self, n_iters: int) -> None:
        """Have it save and stop there, which it does not know of before."""

        checkpointer = self.checkpointer  # not self: no cycle is to keep workers alive

        def cut(trainer: Any) -> None:
            if trainer.iter == n_iters - 1:
                checkpointer.save("cut", iteration=trainer.iter)
                trainer.ctx.stop.request("cut")

        self.trainer.register_hooks([CallbackHook(after_step=cut)])

    def result(self) -> list[torch.Tensor]:
        return [value.clone() for value in self.model.state_dict().values()]


def resumed_is_same(tmp_path: Path, cuts: list[int], loader: Callable[[], Any], n: int = 14, **kwargs: Any) -> None:
    """Whether trainings that are resumed after each of ``cuts`` equal one that is not."""
    whole = Run(tmp_path / "whole", loader, **kwargs)
    whole.trainer.train(0, n)
    for cut in cuts:
        folder = tmp_path / f"cut{cut}"
        begun = Run(folder, loader, **kwargs)
        begun.cut_after(cut)
        begun.trainer.train(0, n)
        rest = Run(folder, loader, **kwargs)
        torch.manual_seed(99)
        assert rest.checkpointer.resume_or_load("")["iteration"] == cut - 1
        assert rest.trainer.finished_iters == cut
        rest.trainer.train(cut, n)
        assert begun.model.seen + rest.model.seen == whole.model.seen, cut
        for one, other in zip(rest.result(), whole.result(), strict=True):
            assert torch.equal(one, other), cut
        for name, history in whole.trainer.storage.histories().items():
            if "time" not in name:
                assert list(rest.trainer.storage.history(name).values()) == list(history.values()), name


def plain(workers: int = 0, **kwargs: Any) -> Callable[[], Any]:
    return lambda: DataLoader(Noisy(), batch_size=4, shuffle=True, num_workers=workers, **kwargs)


@pytest.mark.parametrize("seeded", [False, True])
def test_a_plain_loader_without_workers(tmp_path: Path, seeded: bool) -> None:
    def loader() -> Any:
        generator = torch.Generator().manual_seed(5) if seeded else None
        return DataLoader(Noisy(), batch_size=4, shuffle=True, generator=generator)

    # In the middle of the first pass, at its end, at the beginning of the second, in it.
    resumed_is_same(tmp_path, [1, 4, 6, 7, 11, 13], loader)


def test_a_plain_loader_with_workers(tmp_path: Path) -> None:
    resumed_is_same(tmp_path, [4, 6, 9], plain(workers=2))


def test_a_loader_with_a_position_of_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def loader() -> Any:
        data = Noisy()
        return KeyedDataLoader(data, batch_size=4, sampler=DefaultSampler(data, shuffle=True, seed=3), seed=3)

    with caplog.at_level(logging.WARNING, "trainwright.trainer"):
        resumed_is_same(tmp_path, [4, 6, 9], loader)
    assert "read and dropped" not in caplog.text


def test_a_stream_that_does_not_end(tmp_path: Path) -> None:
    def stream() -> Iterator[torch.Tensor]:
        while True:
            yield torch.rand(4, 4)

    resumed_is_same(tmp_path, [3, 8], stream)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # the first window is not full by then
def test_inside_an_accumulation_window(tmp_path: Path) -> None:
    resumed_is_same(tmp_path, [5, 8, 11], plain(), wrap=lambda o: OptimWrapper(o, accumulative_counts=4))


def test_mixed_precision(tmp_path: Path) -> None:
    resumed_is_same(tmp_path, [5], plain(), kind=AMPTrainer, precision=torch.bfloat16)


def test_a_loss_scale_goes_on_growing(tmp_path: Path) -> None:
    def run() -> Run:
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=3)
        return Run(tmp_path, plain(), kind=AMPTrainer, precision=torch.float32, grad_scaler=scaler)

    begun = run()
    begun.trainer.train(0, 5)
    rest = run()
    rest.checkpointer.resume_or_load("")
    rest.trainer.train(5, 6)
    assert rest.trainer.grad_scaler.get_scale() == 16.0


def test_a_training_that_failed_uses_the_batch_of_the_failure_again(tmp_path: Path) -> None:
    def loader() -> Any:
        return [torch.eye(4) * number for number in range(20)]

    begun = Run(tmp_path, loader)
    checkpointer = begun.checkpointer
    fail = CallbackHook(after_backward=lambda t: 1 / (t.iter - 8), after_train=lambda _: checkpointer.save("crash"))
    begun.trainer.register_hooks([fail])
    with pytest.raises(ZeroDivisionError):
        begun.trainer.train(0, 14)
    rest = Run(tmp_path, loader)
    rest.checkpointer.resume_or_load("")
    assert rest.trainer.finished_iters == 8
    rest.trainer.train(8, 10)
    assert (begun.model.seen[-1], rest.model.seen) == (32.0, [32.0, 36.0])


@pytest.mark.parametrize("resume_data", ["exact", "order"])
def test_a_failure_in_the_first_batch_of_a_pass_keeps_its_order(tmp_path: Path, resume_data: str) -> None:
    def loader() -> Any:
        return DataLoader(Counted(), batch_size=4, shuffle=True)

    whole = Run(tmp_path / "whole", loader)
    whole.trainer.train(0, 12)
    begun = Run(tmp_path, loader)
    checkpointer = begun.checkpointer
    fail = CallbackHook(after_backward=lambda t: 1 / (t.iter - 6), after_train=lambda _: checkpointer.save("crash"))
    begun.trainer.register_hooks([fail])
    with pytest.raises(ZeroDivisionError):
        begun.trainer.train(0, 12)
    rest = Run(tmp_path, loader, resume_data=resume_data)
    rest.checkpointer.resume_or_load("")
    rest.trainer.train(6, 12)
    assert rest.model.seen == whole.model.seen[6:]


class Outer(TrainerBase):
    """Makes its steps with another trainer, and is stopped by a failure of a hook or at its end."""

    def __init__(self, folder: Path, n_windows: int = 1, stop_at: int = -1) -> None:
        super().__init__()
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        self.model = Net()
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05)
        self._trainer = SimpleTrainer(self.model, plain()(), OptimWrapper(optimizer, accumulative_counts=n_windows))
        self.checkpointer = Checkpointer(self.model, folder, trainer=self)
        checkpointer = self.checkpointer

        def stop(trainer: Any) -> None:
            if trainer.iter == stop_at:
                checkpointer.save("cut", iteration=trainer.iter - 1)
                raise KeyboardInterrupt

        self.register_hooks([CallbackHook(before_step=stop)])

    def run_step(self) -> None:
        self._trainer.iter = self.iter
        self._trainer.run_step()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])


@pytest.mark.parametrize(("n_windows", "cuts"), [(1, [3, 9]), (4, [2, 4, 11])])
def test_a_trainer_that_makes_steps_with_another_one(tmp_path: Path, n_windows: int, cuts: list[int]) -> None:
    whole = Outer(tmp_path / "whole", n_windows)
    whole.train(0, 13)  # the last window is a short one
    seen = []
    for cut in [*cuts, -1]:
        rest = Outer(tmp_path / "cut", n_windows, cut)
        rest.checkpointer.resume_or_load("")
        with contextlib.suppress(KeyboardInterrupt):
            rest.train(rest.finished_iters, 13)
        seen += rest.model.seen
    assert seen == whole.model.seen
    for one, other in zip(rest.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("is_over", [False, True])
def test_a_trainer_inside_is_saved_when_all_its_steps_are_made(tmp_path: Path, is_over: bool) -> None:
    whole = Outer(tmp_path / "whole")
    whole.train(0, 9)
    begun = Outer(tmp_path / "cut")
    save = functools.partial(begun.checkpointer.save, "end")
    if not is_over:
        begun.register_hooks([CallbackHook(after_train=lambda trainer: save())])
    begun.train(0, 4)
    if is_over:
        save()
    rest = Outer(tmp_path / "cut")
    rest.checkpointer.resume_or_load("")
    rest.train(4, 9)
    assert begun.model.seen + rest.model.seen == whole.model.seen


def test_training_that_begins_elsewhere_begins_its_data_anew(tmp_path: Path) -> None:
    begun = Run(tmp_path, plain())
    begun.trainer.train(0, 4)
    other = Run(tmp_path, plain())
    other.checkpointer.resume_or_load("")
    torch.manual_seed(0)
    other.trainer.train(0, 6)
    assert len(other.model.seen) == 6


def test_what_cannot_be_exact_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loader = plain(workers=1, persistent_workers=True)
    begun = Run(tmp_path, loader)
    begun.trainer.train(0, 8)
    rest = Run(tmp_path, loader)
    rest.checkpointer.resume_or_load("")
    with caplog.at_level(logging.WARNING, "trainwright.trainer"):
        rest.trainer.train(8, 9)
    assert "2 batches are read and dropped, because DataLoader cannot jump to a position" in caplog.text
    assert "random streams of persistent workers go on from pass to pass" in caplog.text

    caplog.clear()
    seeded = Run(tmp_path, plain(generator=torch.Generator()))
    seeded.checkpointer.resume_or_load("")
    with caplog.at_level(logging.WARNING, "trainwright.trainer"):
        seeded.trainer.train(9, 10)
    assert "the data_loader has 1 generator(s) and had 0 when the state was saved" in caplog.text


class Counted(Dataset[torch.Tensor]):
    """Samples that draw nothing, and the number of those that were read."""

    n_read = 0

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> torch.Tensor:
        self.n_read += 1
        return torch.linspace(0, index, 4)


def test_the_order_goes_on_without_reading_anything_twice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def loader(data: Counted) -> Any:
        return lambda: DataLoader(data, batch_size=4, shuffle=True)

    whole = Run(tmp_path / "whole", loader(Counted()))
    whole.trainer.train(0, 20)
    begun = Run(tmp_path, loader(Counted()))
    begun.trainer.train(0, 9)
    data = Counted()
    rest = Run(tmp_path, loader(data), resume_data="order")
    rest.checkpointer.resume_or_load("")
    with caplog.at_level(logging.WARNING, "trainwright.trainer"):
        rest.trainer.train(9, 20)
    assert rest.model.seen == whole.model.seen[9:]
    assert data.n_read == 12 - 2 + 22 + 4 + 4  # of the second pass, the third, the fourth
    assert "dropped" not in caplog.text
    assert all(torch.equal(one, other) for one, other in zip(rest.result(), whole.result(), strict=True))


def test_data_that_begin_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = [torch.eye(4) * number for number in range(20)]
    begun = Run(tmp_path, lambda: data)
    begun.trainer.train(0, 5)
    rest = Run(tmp_path, lambda: data, resume_data="anew")
    rest.checkpointer.resume_or_load("")
    rest.trainer.train(5, 7)
    assert rest.model.seen == [0.0, 4.0]
    with pytest.raises(ConfigError, match="resume_data must be one of exact, order, anew, but got 'exakt'"):
        Run(tmp_path, lambda: data, resume_data="exakt")


# several ranks ------------------------------------------------------------------------------------------------------


def _sharded_loader() -> Any:
    data = Noisy(8 * torch.distributed.get_world_size())
    sampler = DistributedSampler(data, shuffle=True, seed=1)
    return DataLoader(data, batch_size=3, sampler=sampler)


def _rank(folder: str, kind: str, start: int, end: int, saves: str) -> Any:
    rank = torch.distributed.get_rank()
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(torch.distributed.get_world_size() > 2)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    if kind == "ddp by hand":
        trainer = SimpleTrainer(nn.parallel.DistributedDataParallel(model), _sharded_loader(), optimizer)
    else:
        strategies = {"ddp": DDPStrategy, "fsdp": FSDPStrategy}
        trainer = SimpleTrainer(
            model, _sharded_loader(), optimizer, strategy=strategies[kind](work_dir=f"{folder}/logs")
        )
    for draw in (torch.manual_seed, random.seed, np.random.seed):
        draw(100 * start + rank)
    checkpointer = Checkpointer(model, folder, trainer=trainer)
    if saves == "all" or rank == 0:
        trainer.register_hooks([PeriodicCheckpointer(checkpointer, 8)])
    if start:
        assert checkpointer.resume_or_load("")["iteration"] == start - 1
    trainer.train(start, end)
    return model.seen, trainer.strategy.model_state_dict()


@pytest.mark.parametrize(("kind", "n_ranks"), [("ddp by hand", 2), ("ddp", 2), ("fsdp", 2), ("ddp", 3)])
def test_all_ranks_go_on_exactly(tmp_path: Path, kind: str, n_ranks: int) -> None:
    whole = run_ranks(n_ranks, _rank, str(tmp_path), kind, 0, 11, "all")
    (tmp_path / "model_final.pth").unlink()
    rest = run_ranks(n_ranks, _rank, str(tmp_path), kind, 8, 11, "all")
    warm_up = int(n_ranks > 2)  # a first batch for nothing, after which DDP sums in the order that stays
    for (seen, weights), (all_seen, all_weights) in zip(rest, whole, strict=True):
        assert seen[warm_up:] == all_seen[8 + warm_up :]
        for name, value in all_weights.items():
            assert value.is_meta or torch.equal(weights[name], value), name  # rank 0 has the whole of sharded ones
    assert not any(value.is_meta for value in whole[0][1].values())


def _rank_0_saves(folder: str) -> list[str]:
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("trainwright.trainer").addHandler(handler)
    _rank(folder, "ddp by hand", 0, 8, "rank 0")
    _rank(folder, "ddp by hand", 8, 9, "rank 0")
    return messages


def test_a_hook_that_saves_on_rank_0_alone_saves_what_that_rank_has(tmp_path: Path) -> None:
    first, second = run_ranks(2, _rank_0_saves, str(tmp_path))
    assert any("only some ranks have PeriodicCheckpointer" in text for text in first)
    for messages in (first, second):
        assert any("the state has the random streams of 1 of 2 rank(s), and there are 2 now" in m for m in messages)
