"""The quick half of the conformance suite for the strategies that most runs use; the rest is `make conformance`."""

from trainwright.testing.conformance import COLUMNS, conformance_tests

TestSingle = conformance_tests(COLUMNS["single"], quick=True)
TestDDP = conformance_tests(COLUMNS["DDP x2"], quick=True)
TestFSDP = conformance_tests(COLUMNS["FSDP x2"], quick=True)
