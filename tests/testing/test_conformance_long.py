"""The conformance suite for every strategy of trainwright, without what test_conformance_quick.py asks."""

import pytest

from trainwright.testing.conformance import COLUMNS, conformance_tests

pytestmark = pytest.mark.conformance

TestSingle = conformance_tests(COLUMNS["single"], quick=False)
TestDDP = conformance_tests(COLUMNS["DDP x2"], quick=False)
TestFSDP = conformance_tests(COLUMNS["FSDP x2"], quick=False)
TestFSDPOf4 = conformance_tests(COLUMNS["FSDP x4"])
TestHSDP = conformance_tests(COLUMNS["HSDP 2x2"])
TestTensorParallel = conformance_tests(COLUMNS["TP x2"])
TestTensorParallelFSDP = conformance_tests(COLUMNS["TP x FSDP 2x2"])
