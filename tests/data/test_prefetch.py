"""Copies to the device beside the computation, on streams that only write down what is asked of them."""

from __future__ import annotations

import contextlib
import copy
import pickle
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainwright.data import KeyedDataLoader
from trainwright.data.prefetch import CopiesAhead, batches_ahead
from trainwright.model import BaseDataPreprocessor
from trainwright.strategies import SingleDeviceStrategy

CUDA = torch.device("cuda", 0)


class Stream:
    def __init__(self, api: Streams, name: str) -> None:
        self.api, self.name, self.n_events = api, name, 0

    def record_event(self) -> str:
        self.n_events += 1
        self.api.log.append(f"{self.name} records {self.n_events}")
        return f"{self.name} {self.n_events}"

    def wait_event(self, event: str) -> None:
        self.api.log.append(f"{self.name} waits for {event}")


class Streams:
    """What is used of ``torch.cuda``."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.main = self.now = Stream(self, "main")

    def Stream(self, device: torch.device) -> Stream:
        assert device == CUDA
        return Stream(self, "side")

    def current_stream(self, device: torch.device) -> Stream:
        assert device == CUDA
        return self.now

    @contextlib.contextmanager
    def stream(self, stream: Stream) -> Any:
        self.now = stream
        yield
        self.now = self.main


class Host(torch.Tensor):
    """A tensor that says it is pinned, and whose copy goes nowhere."""

    api: Streams

    def is_pinned(self) -> bool:
        return True

    def to(self, device: Any, non_blocking: bool = False) -> Any:
        assert device == CUDA
        assert non_blocking
        self.api.log.append(f"copy on {self.api.now.name}")
        result = torch.Tensor(self.clone()).as_subclass(Device)
        result.api = self.api
        return result


class Device(torch.Tensor):
    api: Streams

    def record_stream(self, stream: Stream) -> None:
        self.api.log.append(f"used on {stream.name}")


def host(api: Streams, value: float) -> Any:
    tensor = torch.tensor([value]).as_subclass(Host)
    tensor.api = api
    return tensor


class Loader(list):
    pin_memory = True


def made(api: Streams, n: int) -> tuple[Loader, SimpleNamespace]:
    loader = Loader({"x": [host(api, k)], "y": (torch.tensor(k), "text", None)} for k in range(n))
    return loader, SimpleNamespace(copies_ahead=None)


def test_a_copy_runs_beside_the_step_before_and_no_earlier():
    api = Streams()
    loader, preprocessor = made(api, 3)
    for batch in batches_ahead(loader, CUDA, preprocessor, api):
        assert type(batch["x"][0]) is Host, "hooks see the batch on the host"
        api.log.append("step")
        taken = preprocessor.copies_ahead.take(batch["x"][0])
        assert type(taken) is Device
        assert taken.item() == batch["x"][0].item()
        assert preprocessor.copies_ahead.take(batch["y"][0]) is None, "it is not pinned"
    first = ["main records 1", "copy on side", "side records 1", "step", "main waits for side 1", "used on main"]
    second = ["side waits for main 1", "main records 2", "copy on side", "side records 2"]
    third = ["side waits for main 2", "main records 3", "copy on side", "side records 3"]
    assert api.log[:6] == first
    assert api.log[6:10] == second
    assert api.log[13:17] == third, "while the step on the second batch runs, and not before that on the first is done"
    assert preprocessor.copies_ahead._begun == {}


def test_a_batch_may_be_taken_twice():
    """Validation losses preprocess it once more."""
    api = Streams()
    loader, preprocessor = made(api, 1)
    batch = next(batches_ahead(loader, CUDA, preprocessor, api))
    copies = preprocessor.copies_ahead
    assert copies.take(batch["x"][0]) is copies.take(batch["x"][0])
    assert api.log.count("main waits for side 1") == 1


def test_copies_that_nobody_takes_are_made_once():
    api = Streams()
    loader, preprocessor = made(api, 5)
    assert len(list(batches_ahead(loader, CUDA, preprocessor, api))) == 5
    assert api.log.count("copy on side") == 1


def test_one_object_serves_training_and_validation():
    api = Streams()
    loader, preprocessor = made(api, 2)
    training = batches_ahead(loader, CUDA, preprocessor, api)
    first = next(training)
    preprocessor.copies_ahead.take(first["x"][0])
    for batch in batches_ahead(loader, CUDA, preprocessor, api):
        assert preprocessor.copies_ahead.take(batch["x"][0]) is not None
    assert preprocessor.copies_ahead.take(next(training)["x"][0]) is not None


@pytest.mark.parametrize(
    ("device", "pinned", "preprocessor"),
    [
        (torch.device("cpu"), True, BaseDataPreprocessor()),
        (CUDA, False, BaseDataPreprocessor()),
        (CUDA, True, None),
        (CUDA, True, torch.nn.Identity()),
    ],
)
def test_elsewhere_it_is_the_loaders_own_iterator(device, pinned, preprocessor):
    loader = Loader([1, 2])
    loader.pin_memory = pinned
    assert type(batches_ahead(loader, device, preprocessor)) is type(iter(loader))
    assert getattr(preprocessor, "copies_ahead", None) is None


def test_a_strategy_on_the_cpu_adds_nothing(tmp_path):
    strategy = SingleDeviceStrategy(work_dir=tmp_path, log_kwargs={"log_level": 40})
    strategy._device = torch.device("cpu")
    strategy.place_model(BaseDataPreprocessor())
    assert type(strategy.batches(Loader([1]))) is type(iter([]))


def test_the_position_counts_what_was_handed_out():
    api = Streams()
    loader = KeyedDataLoader(range(10), batch_size=2, collate_fn=lambda samples: host(api, samples[0]))
    loader.pin_memory = False
    batches = CopiesAhead(CUDA, api).over(iter(loader))
    for n in range(1, 6):
        assert next(batches).item() == 2 * (n - 1)
        assert loader.state_dict()["consumed_batches"] == n


def test_the_preprocessor_takes_the_copy():
    api = Streams()
    preprocessor = BaseDataPreprocessor()
    preprocessor._is_cpu, preprocessor._device = False, CUDA
    tensor = torch.ones(2)
    sent = torch.zeros(2)
    preprocessor.copies_ahead = SimpleNamespace(take=lambda given: sent if given is tensor else None)
    assert preprocessor.cast_data({"a": [tensor]})["a"][0] is sent
    assert api.log == []


def test_a_copy_of_the_model_has_no_copies_begun():
    copies = CopiesAhead(CUDA, Streams())
    assert copy.deepcopy(copies) is None
    assert pickle.loads(pickle.dumps(copies)) is None
