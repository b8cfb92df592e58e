"""The conformance suite for DeepSpeedStrategy, with DeepSpeed's own package."""

import pytest

from trainwright.testing.conformance import COLUMNS, conformance_tests

pytestmark = [
    pytest.mark.deepspeed,
    pytest.mark.filterwarnings("ignore"),  # of the package, about torch
]

TestDeepSpeed = conformance_tests(COLUMNS["DeepSpeed x2"])
