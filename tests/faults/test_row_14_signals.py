"""SIGTERM, once to three times, at any moment of a training."""

import pytest
from bursts import shoot


@pytest.mark.conformance  # long
def test_bursts_of_signals_lose_nothing(tmp_path):
    codes, lost, wrong, completed = shoot(tmp_path, n_bursts=100, seed=14)
    assert set(codes) <= {0, 75}, codes
    assert sum(codes.values()) == 100
    assert (lost, wrong) == (0, [])
    assert codes[75] > 20, "the signals hit the training"
    assert completed > 10, "and some runs came to their end"
