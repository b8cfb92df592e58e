"""The log buffer of MMCV 1.x: averages, and no value that is read before somebody asks."""

import numpy as np
import pytest
import torch

from trainwright.compat.mmcv1.runner import LogBuffer


def filled():
    buffer = LogBuffer()
    buffer.update({"loss": 1.0, "acc": torch.tensor(0.5)}, 2)
    buffer.update({"time": 7})
    buffer.update({"loss": torch.tensor([3.0]), "acc": 1.0}, 4)
    return buffer


def test_averages_are_weighted_by_count():
    buffer = filled()
    buffer.average()
    assert dict(buffer.output) == {"loss": (2.0 + 12.0) / 6, "acc": (1.0 + 4.0) / 6, "time": 7.0}
    assert list(buffer.output) == ["loss", "acc", "time"]
    assert buffer.ready


def test_the_last_values_are_those_of_each_name():
    buffer = filled()
    buffer.average(1)
    assert dict(buffer.output) == {"loss": 3.0, "acc": 1.0, "time": 7.0}


def test_it_is_the_arithmetic_of_mmcv():
    generator = np.random.default_rng(0)
    values, counts = generator.random(37), generator.integers(1, 9, 37)
    buffer = LogBuffer()
    for value, count in zip(values, counts, strict=True):
        buffer.update({"x": float(value)}, int(count))
    for n in (0, 1, 10, 99):
        buffer.average(n)
        own_values, own_counts = np.array(list(values)[-n:]), np.array(list(counts)[-n:])
        assert buffer.output["x"] == np.sum(own_values * own_counts) / np.sum(own_counts)


def test_histories():
    buffer = filled()
    assert buffer.val_history == {"loss": [1.0, 3.0], "acc": [0.5, 1.0], "time": [7.0]}
    assert buffer.n_history == {"loss": [2.0, 4.0], "acc": [2.0, 4.0], "time": [1.0]}
    assert list(buffer.val_history) == ["loss", "acc", "time"]


def test_clearing():
    buffer = filled()
    buffer.average()
    buffer.clear_output()
    assert (buffer.ready, dict(buffer.output), len(buffer.val_history)) == (False, {}, 3)
    buffer.update({"late": 1.0})
    buffer.clear()
    assert (buffer.ready, buffer.val_history, buffer.n_history) == (False, {}, {})
    buffer.average()
    assert buffer.output == {}


def test_no_tensor_is_read_before_somebody_asks(monkeypatch):
    buffer, reads = LogBuffer(), []
    original = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: reads.append(1) or original(self))
    monkeypatch.setattr(torch.Tensor, "item", lambda self: pytest.fail("read one by one"))
    for _ in range(20):
        buffer.update({"loss": torch.ones(2).sum(), "acc": torch.ones(())})
    assert reads == []
    buffer.average(5)
    assert buffer.output["loss"] == 2.0
    assert len(reads) == 1


def test_it_goes_on_in_another_one():
    other = LogBuffer()
    other.load_state_dict(filled().state_dict())
    assert other.val_history == filled().val_history
    assert other.n_history == filled().n_history


def test_what_is_refused():
    with pytest.raises(AssertionError, match="must be a dict of numbers, got 3"):
        LogBuffer().update(3)
    with pytest.raises(AssertionError, match="n must not be negative, got -1"):
        LogBuffer().average(-1)
