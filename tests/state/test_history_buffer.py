import io

import numpy as np
import pytest
import torch

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.state import HistoryBuffer


@pytest.fixture(autouse=True)
def own_statistics(monkeypatch):
    monkeypatch.setattr(HistoryBuffer, "_statistics", {})


def test_mean_weighs_by_counts_within_the_window():
    buffer = HistoryBuffer([10.0, 20.0, 30.0], [1, 2, 3])
    assert buffer.mean() == 60 / 6
    assert buffer.mean(2) == 50 / 5
    assert buffer.mean(1) == 10
    assert buffer.mean(99) == 60 / 6


def test_mean_of_a_long_window_is_the_same_number():
    values = [0.25 * n for n in range(200)]
    buffer = HistoryBuffer(values, [1] * 200)
    assert buffer.mean() == sum(values) / 200
    assert buffer.mean(100) == sum(values[100:]) / 100
    assert buffer.mean(5) == sum(values[-5:]) / 5


def test_max_min_current():
    buffer = HistoryBuffer([3.0, -1.0, 2.0], [1, 1, 1])
    assert (buffer.max(), buffer.max(2), buffer.min(), buffer.min(1), buffer.current()) == (3, 2, -1, 2, 2)


def test_update_appends_and_data_gives_arrays():
    buffer = HistoryBuffer()
    buffer.update(np.float32(0.5))
    buffer.update(2, count=4)
    values, counts = buffer.data
    assert values.tolist() == [0.5, 2.0]
    assert counts.tolist() == [1.0, 4.0]
    assert (values.dtype, len(buffer)) == (np.float64, 2)


@pytest.mark.parametrize("max_length", [1, 5, 63, 64, 100])
def test_max_length_bounds_what_is_kept_and_what_is_counted(max_length):
    buffer = HistoryBuffer(max_length=max_length)
    for n in range(4 * max_length):
        buffer.update(n)
        assert len(buffer) == min(n + 1, max_length)
        assert len(buffer._values) <= 1.25 * max_length + 1
    kept = list(range(4 * max_length))[-max_length:]
    assert buffer.data[0].tolist() == kept
    assert buffer.mean() == pytest.approx(sum(kept) / max_length)
    assert (buffer.min(), buffer.max(2 * max_length)) == (kept[0], kept[-1])


def test_extend_is_bounded_too():
    buffer = HistoryBuffer(max_length=10)
    buffer.extend(range(1000), [2] * 1000)
    assert buffer.data[0].tolist() == list(range(990, 1000))
    assert len(buffer._values) == 10


def test_values_and_counts_must_be_as_long():
    with pytest.raises(ConfigError, match="2 values and 1 counts"):
        HistoryBuffer([1.0, 2.0], [1])


def test_an_empty_buffer_says_so():
    for statistic in ("mean", "max", "min", "current"):
        with pytest.raises(ValueError, match="nothing was logged under this name"):
            HistoryBuffer().statistics(statistic)


def test_statistics_by_name():
    buffer = HistoryBuffer([1.0, 3.0], [1, 1])
    assert buffer.statistics("mean", window_size=1) == 3
    assert buffer.statistics("max") == 3
    assert buffer.statistics("current") == 3


def test_a_registered_statistic_is_found_by_its_name():
    @HistoryBuffer.register_statistics
    def spread(buffer, window_size=None):
        return buffer.max(window_size) - buffer.min(window_size)

    buffer = HistoryBuffer([1.0, 5.0, 4.0], [1, 1, 1])
    assert buffer.statistics("spread") == 4
    assert buffer.statistics("spread", 2) == 1
    HistoryBuffer.register_statistics(spread)  # the same function again: nothing to say


def test_a_taken_name_is_refused():
    def mean(buffer):
        return 0

    with pytest.raises(ConfigError, match="has a statistic 'mean' already"):
        HistoryBuffer.register_statistics(mean)


def test_an_unknown_statistic_names_the_known_ones():
    with pytest.raises(KeyError, match=r"'maen' is no statistic.*mean, max, min, current.*Did you mean 'mean'"):
        HistoryBuffer([1.0], [1]).statistics("maen")


@pytest.mark.parametrize("counts", [[1, 1, 1], [1, 2, 1]])
def test_state_round_trip_through_a_safe_file(counts):
    buffer = HistoryBuffer([0.1, float("nan"), 3.0], counts, max_length=77)
    file = io.BytesIO()
    torch.save(buffer.state_dict(), file)
    file.seek(0)
    other = HistoryBuffer([9.0], [9])
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.max_length == 77
    np.testing.assert_array_equal(other.data[0], buffer.data[0])
    np.testing.assert_array_equal(other.data[1], buffer.data[1])
    other.update(1.0)
    assert len(other) == 4


def test_an_empty_buffer_survives_the_round_trip():
    other = HistoryBuffer([1.0], [1])
    other.load_state_dict(HistoryBuffer().state_dict())
    assert len(other) == 0


def test_too_many_values_are_said():
    with pytest.warns(UserWarning, match="got 3 values, more than its max_length of 2"):
        buffer = HistoryBuffer([1.0, 2.0, 3.0], [1, 1, 1], max_length=2)
    assert buffer.data[0].tolist() == [2.0, 3.0]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda buffer: buffer.update("3"), "log_val must be a number, but got '3' of type str"),
        (lambda buffer: buffer.update(3, None), "count must be a number, but got None"),
        (lambda buffer: buffer.mean("all"), "window_size must be a whole number or None, but got 'all'"),
        (lambda buffer: buffer.max(1.5), "window_size must be a whole number or None, but got 1.5"),
    ],
)
def test_wrong_types(call, text):
    with pytest.raises(ConfigTypeError, match=text):
        call(HistoryBuffer([1.0], [1]))


def test_what_was_added_last_can_be_forgotten():
    buffer = HistoryBuffer([1.0, 2.0], [1, 1])
    at = buffer.n_added
    buffer.extend([3.0, 4.0], [1, 2])
    buffer.truncate(at)
    assert buffer.data[0].tolist() == [1.0, 2.0]
    assert len(buffer.data[1]) == 2
    assert buffer.n_added == at == 2


def test_forgetting_counts_what_was_dropped():
    buffer = HistoryBuffer(max_length=4)
    for value in range(30):
        buffer.update(float(value))
    at = buffer.n_added
    assert at == 30
    buffer.update(99.0)
    buffer.truncate(at)
    assert buffer.current() == 29.0
    buffer.truncate(3)  # all of these were dropped long ago
    assert len(buffer) == 0
    other = HistoryBuffer()
    other.load_state_dict(HistoryBuffer([1.0, 2.0], [1, 1]).state_dict())
    assert other.n_added == 2
