"""A step of SimpleTrainer and AMPTrainer: losses, metrics, data, and what is read when."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trainwright.base.errors import ConfigError, ConfigTypeError, DataError
from trainwright.optim import AmpOptimWrapper, OptimWrapper
from trainwright.strategies import SingleDeviceStrategy
from trainwright.testing.host_reads import count_host_reads
from trainwright.testing.ranks import run_ranks
from trainwright.trainer import AMPTrainer, CallbackHook, EventStorage, HookBase, SimpleTrainer, get_event_storage


class Net(nn.Module):
    """Gives the losses that ``parts`` names, or their sum."""

    def __init__(self, parts: tuple[str, ...] = ("loss",), as_dict: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 2)
        self.parts, self.as_dict = parts, as_dict

    def forward(self, x: torch.Tensor) -> Any:
        out = self.layer(x)
        losses = {name: out.square().mean() * (index + 1) for index, name in enumerate(self.parts)}
        return losses if self.as_dict else sum(losses.values())


def batches(seed: int = 1) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.rand(4, 3, generator=generator)


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def by_hand(model: nn.Module, n: int, data: Iterator[torch.Tensor]) -> nn.Module:
    optimizer = sgd(model)
    for _ in range(n):
        found = model(next(data))
        loss = sum(found.values()) if isinstance(found, dict) else found
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("before_forward", [False, True])
@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("parts", [("loss",), ("cls", "box", "mask")])
def test_it_trains_as_a_loop_by_hand(parts: tuple[str, ...], as_dict: bool, before_forward: bool) -> None:
    model = Net(parts, as_dict)
    trainer = SimpleTrainer(model, batches(), sgd(model), zero_grad_before_forward=before_forward)
    trainer.train(0, 5)
    assert same(model, by_hand(Net(parts, as_dict), 5, batches()))


def test_metrics_of_a_dict_of_losses_and_of_a_loss() -> None:
    model = Net(("cls", "box"))
    trainer = SimpleTrainer(model, batches(), sgd(model))
    trainer.train(0, 2)
    latest = trainer.storage.latest()
    assert set(latest) == {"rank_data_time", "data_time", "total_loss", "cls", "box"}
    assert latest["total_loss"][0] == pytest.approx(latest["cls"][0] + latest["box"][0])
    assert {at for _, at in latest.values()} == {1}
    alone = SimpleTrainer(Net(("loss",)), batches(), sgd(model))
    alone.train(0, 1)
    assert set(alone.storage.latest()) == {"rank_data_time", "data_time", "total_loss"}


def test_settings_that_cannot_be_are_refused() -> None:
    model = Net()
    with pytest.raises(ConfigError, match="gather_metric_period must be at least 1 iteration, but got 0"):
        SimpleTrainer(model, batches(), sgd(model), gather_metric_period=0)
    with pytest.raises(ConfigTypeError, match=r"strategy must be a strategy object, such as DDPStrategy\(\).*'ddp'"):
        SimpleTrainer(model, batches(), sgd(model), strategy="ddp")  # type: ignore[arg-type]


def test_metrics_are_put_every_so_many_iterations() -> None:
    model = Net()
    trainer = SimpleTrainer(model, batches(), sgd(model), gather_metric_period=3)
    trainer.train(0, 7)
    assert [at for _, at in trainer.storage.history("total_loss").values()] == [2, 5]


def test_a_step_reads_nothing() -> None:
    model = Net(("cls", "box"))
    trainer = SimpleTrainer(model, batches(), sgd(model))
    with EventStorage(), count_host_reads() as reads:
        for _ in range(5):
            trainer.run_step()
    assert reads.total == 0


def test_gradients_are_there_after_the_backward_and_after_the_step() -> None:
    model, seen = Net(), []

    class Look(HookBase):
        def before_step(self) -> None:
            seen.append(("before", model.layer.weight.grad is None))

        def after_backward(self) -> None:
            seen.append(("backward", model.layer.weight.grad.clone(), model.layer.weight.clone()))

        def after_step(self) -> None:
            seen.append(("step", model.layer.weight.grad.clone(), model.layer.weight.clone()))

    trainer = SimpleTrainer(model, batches(), sgd(model))
    trainer.register_hooks([Look()])
    trainer.train(0, 1)
    before, backward, step = seen
    assert before == ("before", True)
    assert torch.equal(backward[1], step[1])
    assert not torch.equal(backward[2], step[2])


# losses that are not finite -----------------------------------------------------------------------------------------


class Spoilt(Net):
    """Its loss is NaN in one iteration."""

    def __init__(self, at: int) -> None:
        super().__init__(("cls", "box"))
        self.at, self.n = at, 0

    def forward(self, x: torch.Tensor) -> Any:
        losses = super().forward(x)
        if self.n == self.at:
            losses["box"] = losses["box"] * float("nan")
        self.n += 1
        return losses


def test_a_loss_that_is_not_finite_is_found_when_it_is_read(caplog: pytest.LogCaptureFixture) -> None:
    model, ended = Spoilt(at=3), []
    trainer = SimpleTrainer(model, batches(), sgd(model))
    look = CallbackHook(
        after_step=lambda t: t.iter % 5 == 4 and t.storage.latest(), after_train=lambda t: ended.append(t.iter)
    )
    trainer.register_hooks([look])
    with pytest.raises(
        FloatingPointError, match=r"Loss became infinite or NaN at iteration=3!\nloss_dict = "
    ) as caught:
        trainer.train(0, 100)
    assert "'box': nan" in str(caught.value)
    assert "'cls': nan" not in str(caught.value)  # that of iteration 3 was a number
    assert ended == [4]
    assert "Exception during training:" in caplog.text


@pytest.mark.parametrize("at", [0, 5, 9])
def test_it_is_found_at_the_end_of_training_at_the_latest(at: int) -> None:
    model, ended = Spoilt(at), []
    trainer = SimpleTrainer(model, batches(), sgd(model))
    trainer.register_hooks([CallbackHook(after_train=lambda t: ended.append(t.iter == t.max_iter))])
    with pytest.raises(FloatingPointError, match=f"at iteration={at}!"):
        trainer.train(0, 10)
    assert ended == [False]


def test_it_is_found_before_a_state_is_saved() -> None:
    model = Spoilt(at=1)
    trainer = SimpleTrainer(model, batches(), sgd(model))
    trainer.register_hooks([CallbackHook(after_step=lambda t: t.iter == 2 and t.state_dict())])
    with pytest.raises(FloatingPointError, match="at iteration=1!"):
        trainer.train(0, 10)
    assert trainer.iter == 2


def test_an_override_of_detect_anomaly_is_called_in_every_iteration() -> None:
    seen: list[Any] = []

    class Own(SimpleTrainer):
        def _detect_anomaly(self, losses: torch.Tensor, loss_dict: Any) -> None:
            seen.append((self.iter, losses is loss_dict["loss"]))
            super()._detect_anomaly(losses, loss_dict)

    model = Net()
    Own(model, batches(), sgd(model)).train(0, 2)
    assert seen == [(0, True), (1, True)]
    spoilt = Spoilt(at=0)
    trainer = Own(spoilt, batches(), sgd(spoilt))
    seen.clear()
    with pytest.raises(KeyError):
        trainer.train(0, 1)


def test_detect_anomaly_itself_reads() -> None:
    model = Net()
    trainer = SimpleTrainer(model, batches(), sgd(model))
    loss = torch.tensor(float("inf"))
    with pytest.raises(FloatingPointError, match=r"iteration=0!\nloss_dict = {'loss': inf}"):
        trainer._detect_anomaly(loss, {"loss": loss.requires_grad_()})


# writing metrics in one's own way -----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", [SimpleTrainer, AMPTrainer])
def test_an_override_of_write_metrics_is_called_in_every_iteration(kind: Any, is_async: bool) -> None:
    seen: list[Any] = []

    class Own(kind):
        def _write_metrics(self, loss_dict: Any, data_time: float, prefix: str = "", iter: int | None = None) -> None:
            seen.append((iter, sorted(loss_dict), data_time >= 0))
            super()._write_metrics(loss_dict, data_time, "own_", iter)

    model = Net(("cls", "box"))
    kwargs = {"precision": torch.bfloat16} if kind is AMPTrainer else {}
    trainer = Own(model, batches(), sgd(model), async_write_metrics=is_async, **kwargs)
    trainer.train(0, 3)
    assert seen == [(at if is_async else None, ["box", "cls"], True) for at in range(3)]
    assert [at for _, at in trainer.storage.history("own_total_loss").values()] == [0, 1, 2]
    assert trainer._executor is None  # its thread has ended


def test_an_error_in_the_writing_thread_ends_training() -> None:
    class Own(SimpleTrainer):
        def _write_metrics(self, *args: Any, **kwargs: Any) -> None:
            raise ZeroDivisionError("in the thread")

    model = Net()
    with pytest.raises(ZeroDivisionError, match="in the thread"):
        Own(model, batches(), sgd(model), async_write_metrics=True).train(0, 3)


def test_metrics_go_to_the_storage_that_is_open() -> None:
    model = Net()
    trainer = SimpleTrainer(model, batches(), sgd(model))
    with EventStorage(5) as storage:
        trainer.iter = 5
        trainer.run_step()
        assert get_event_storage().latest()["total_loss"][1] == 5
        SimpleTrainer.write_metrics({"loss": torch.tensor(2.0)}, 0.5, 7, prefix="val_")
    assert storage.latest()["val_total_loss"] == (2.0, 7)


# data ---------------------------------------------------------------------------------------------------------------


class Sampler(torch.utils.data.Sampler[int]):
    """Says which epochs it was told."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def __iter__(self) -> Iterator[int]:
        return iter(range(4))

    def __len__(self) -> int:
        return 4


def test_a_finite_loader_is_begun_again() -> None:
    model, sampler = Net(), Sampler()
    loader = DataLoader(TensorDataset(torch.rand(4, 3)), batch_size=2, sampler=sampler, collate_fn=stack)
    SimpleTrainer(model, loader, sgd(model)).train(0, 5)
    assert sampler.epochs == [1, 2]


def stack(items: list[Any]) -> torch.Tensor:
    return torch.stack([item[0] for item in items])


def test_a_loader_without_a_batch_is_said() -> None:
    model = Net()
    with pytest.raises(DataError, match="a list, has no batch to begin a pass with"):
        SimpleTrainer(model, [], sgd(model)).train(0, 1)
    once = iter([torch.rand(1, 3), torch.rand(1, 3)])
    with pytest.raises(DataError, match="can be read only once, and gave 2 batches"):
        SimpleTrainer(model, once, sgd(model)).train(0, 5)


def test_the_loader_is_not_begun_before_the_first_step() -> None:
    class Loader:
        begun = 0

        def __iter__(self) -> Iterator[torch.Tensor]:
            self.begun += 1
            return batches()

    loader, model = Loader(), Net()
    trainer = SimpleTrainer(model, loader, sgd(model))
    assert loader.begun == 0
    trainer.train(0, 2)
    assert loader.begun == 1


def test_the_loader_can_be_replaced() -> None:
    model = Net()
    trainer = SimpleTrainer(model, batches(), sgd(model))
    trainer.train(0, 2)
    trainer.reset_data_loader(lambda: batches(7))
    reference, last = Net(), model
    trainer.train(2, 4)
    first, second = batches(1), batches(7)
    by_hand(reference, 4, iter([next(first), next(first), next(second), next(second)]))
    assert same(last, reference)


def test_a_step_of_ones_own_can_take_batches() -> None:
    seen: list[torch.Tensor] = []

    class Own(SimpleTrainer):
        def run_step(self) -> None:
            seen.append(next(self._data_loader_iter))

    model, data = Net(), [torch.rand(1, 3), torch.rand(1, 3)]
    Own(model, data, sgd(model)).train(0, 3)
    assert [tensor is wanted for tensor, wanted in zip(seen, [*data, data[0]], strict=True)] == [True] * 3


# errors of use ------------------------------------------------------------------------------------------------------


def test_a_model_in_eval_mode_is_refused() -> None:
    model = Net()
    trainer = SimpleTrainer(model, batches(), sgd(model))
    trainer.register_hooks([CallbackHook(before_step=lambda _: model.eval())])
    with pytest.raises(AssertionError, match=r"\[SimpleTrainer\] model was changed to eval mode!"):
        trainer.train(0, 1)


def test_what_is_neither_a_loss_nor_losses_is_refused() -> None:
    class Silent(Net):
        def forward(self, x: torch.Tensor) -> Any:
            return (super().forward(x)["loss"],)

    model = Silent()
    with pytest.raises(ConfigTypeError, match=r"must return a loss, or a dict of losses, but it returned \(tensor"):
        SimpleTrainer(model, batches(), sgd(model)).train(0, 1)


def test_several_optimizers_are_refused() -> None:
    model = Net()
    with pytest.raises(ConfigError, match=r"SimpleTrainer has one optimizer, but got a, b: derive from TrainerBase"):
        SimpleTrainer(model, batches(), {"a": sgd(model), "b": sgd(model)})


# accumulation and precision -----------------------------------------------------------------------------------------


def test_accumulated_and_clipped_gradients() -> None:
    model = Net()
    wrapper = OptimWrapper(sgd(model), accumulative_counts=2, clip_grad={"max_norm": 0.01})
    trainer = SimpleTrainer(model, batches(), wrapper)
    assert trainer.optimizer is wrapper.optimizer
    trainer.train(0, 5)
    trainer.train(5, 6)  # begins a window of its own
    reference = Net()
    optimizer, data = sgd(reference), batches()
    for window in (2, 2, 1, 1):
        optimizer.zero_grad()
        for _ in range(window):
            (reference(next(data))["loss"] / window).backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.01)
        optimizer.step()
    assert same(model, reference)


def test_mixed_precision_on_the_cpu() -> None:
    model, types = Net(), []
    model.layer.register_forward_hook(lambda *args: types.append(args[2].dtype))
    backwards: list[int] = []
    trainer = AMPTrainer(model, batches(), sgd(model), precision=torch.bfloat16, log_grad_scaler=True)
    trainer.register_hooks([CallbackHook(after_backward=lambda t: backwards.append(t.iter))])
    trainer.train(0, 2)
    assert types == [torch.bfloat16] * 2
    assert backwards == [0, 1]
    assert trainer.storage.latest()["[metric]grad_scaler"] == (1.0, 1)
    assert trainer.state_dict()["grad_scaler"] == {}


def test_a_scaled_loss_steps_as_an_unscaled_one_and_is_saved() -> None:
    model = Net()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    trainer = AMPTrainer(
        model, batches(), sgd(model), grad_scaler=scaler, precision=torch.float32, log_grad_scaler=True
    )
    trainer.train(0, 3)
    assert same(model, by_hand(Net(), 3, batches()))
    assert trainer.grad_scaler is scaler
    assert trainer.storage.latest()["[metric]grad_scaler"] == (1024.0, 2)
    state = trainer.state_dict()
    assert state["grad_scaler"]["scale"] == 1024.0
    assert "loss_scaler" not in state["optimizer"]
    other = AMPTrainer(Net(), batches(), sgd(model), grad_scaler=torch.amp.GradScaler("cpu"), precision=torch.float32)
    other.load_state_dict(state)
    assert other.grad_scaler.state_dict()["scale"] == 1024.0


def test_amp_refuses_what_it_cannot_do() -> None:
    model = Net()
    with pytest.raises(ConfigError, match="AMPTrainer cannot train a DataParallel model"):
        AMPTrainer(nn.DataParallel(model), batches(), sgd(model))
    with pytest.raises(ConfigError, match="needs an AmpOptimWrapper, or a plain optimizer, but got OptimWrapper"):
        AMPTrainer(model, batches(), OptimWrapper(sgd(model)))
    wrapper = AmpOptimWrapper(optimizer=sgd(model), dtype="bfloat16", accumulative_counts=2)
    assert AMPTrainer(model, batches(), wrapper).optim_wrapper is wrapper


def test_a_strategy_makes_a_scaler_like_the_given_one(tmp_path: Path) -> None:
    model = Net()
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    trainer = AMPTrainer(
        *(model, batches(), sgd(model)),
        grad_scaler=scaler,
        precision=torch.float32,
        strategy=SingleDeviceStrategy(work_dir=tmp_path),
    )
    trainer.train(0, 3)
    assert trainer.grad_scaler is not scaler
    assert trainer.grad_scaler.get_scale() == 16.0
    assert same(model, by_hand(Net(), 3, batches()))


# several ranks ------------------------------------------------------------------------------------------------------


class Reversed(Net):
    """Gives them in another order."""

    def forward(self, x: torch.Tensor) -> Any:
        return dict(reversed(super().forward(x).items()))


def _train_rank(is_async: bool, period: int) -> Any:
    rank = torch.distributed.get_rank()
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel((Reversed if rank else Net)(("cls", "box")))
    trainer = SimpleTrainer(
        model, batches(seed=rank), sgd(model), gather_metric_period=period, async_write_metrics=is_async
    )
    own = Net(("cls", "box"))(next(batches(seed=rank)))["cls"].item()
    trainer.train(0, 4)
    histories = {name: list(history.values()) for name, history in trainer.storage.histories().items()}
    return histories, own, [value.clone() for value in model.state_dict().values()]


@pytest.mark.parametrize(("is_async", "period"), [(False, 1), (True, 1), (True, 2)])
def test_metrics_of_all_ranks(is_async: bool, period: int) -> None:
    results = run_ranks(2, _train_rank, is_async, period)
    histories = results[0][0]
    iterations = list(range(period - 1, 4, period))
    for name in ("total_loss", "cls", "box", "data_time", "rank_data_time"):
        assert [at for _, at in histories[name]] == iterations, name
    if period == 1:
        assert histories["cls"][0][0] == pytest.approx((results[0][1] + results[1][1]) / 2, rel=1e-6)
    assert histories["cls"] == results[1][0]["cls"]
    times = zip(*(result[0]["rank_data_time"] for result in results), strict=True)
    slowest = [max(one[0], other[0]) for one, other in times]
    assert [value for value, _ in histories["data_time"]] == slowest
    for (total, _), (cls, _), (box, _) in zip(*(histories[n] for n in ("total_loss", "cls", "box")), strict=True):
        assert total == pytest.approx(cls + box)
    assert all(torch.equal(one, other) for one, other in zip(results[0][2], results[1][2], strict=True))


def test_logging_stays_quiet_without_handlers(caplog: pytest.LogCaptureFixture) -> None:
    model = Net()
    with caplog.at_level(logging.WARNING):
        SimpleTrainer(model, batches(), sgd(model)).train(0, 1)
    assert caplog.records == []
