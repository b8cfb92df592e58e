"""MultiProcessTestCase, with forked processes: what a test of several ranks says of them."""

import os
import signal
import unittest
from threading import Event

import pytest
import torch
from torch import distributed, multiprocessing

from trainwright.dist import all_gather
from trainwright.testing import MultiProcessTestCase, RunnerTestCase

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class Forked(MultiProcessTestCase):
    """Started by a fork, which imports nothing again."""

    __test__ = False  # run by the tests below
    limit_s = 60.0

    @property
    def timeout(self):
        return self.limit_s

    def setUp(self):
        super().setUp()
        if "return_code" in self._testMethodName:
            self.skip_return_code_checks.append(type(self).test_return_code.__get__(self))
        self._start_processes(multiprocessing.get_context("fork").Process)

    def prepare_subprocess(self):
        if self._testMethodName == "test_not_prepared":
            raise OSError("no room for it")
        self.rank, self.file_name = 7, "another"  # as a setUp would

    def test_passes(self):
        assert self.rank in (0, 1)
        assert self.is_master is (self.rank == 0)
        with open(self.file_name, "a") as file:
            file.write("x")

    def test_fails(self):
        if self.rank == 0:
            Event().wait()
        raise ValueError("rank 1 has had enough")

    def test_both_fail(self):
        assert self.rank == 5, f"this is {self.rank}"

    def test_is_skipped(self):
        self.skipTest("for a reason")

    def test_exits(self):
        os._exit(3 if self.rank else 0)

    def test_return_code(self):
        os._exit(3)

    def test_is_killed(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def test_not_prepared(self):
        pass

    def test_hangs(self):
        wait_for_ever = Event()
        wait_for_ever.wait()


class Hanging(Forked):
    limit_s = 0.5


class Training(MultiProcessTestCase, RunnerTestCase):
    """A runner in each of two ranks."""

    __test__ = False

    def setUp(self):
        super().setUp()
        self._start_processes(multiprocessing.get_context("fork").Process)

    def prepare_subprocess(self):
        torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
        super(MultiProcessTestCase, self).setUp()

    def test_ranks_have_the_same_weights(self):
        os.environ.update(RANK=str(self.rank), LOCAL_RANK=str(self.rank), WORLD_SIZE="2")
        distributed.init_process_group("gloo", f"file://{self.file_name}", rank=self.rank, world_size=2)
        self.epoch_based_cfg.merge_from_dict({"launcher": "pytorch", "randomness.seed": 1})
        runner = self.build_runner(self.epoch_based_cfg)
        runner.train()
        assert (runner.world_size, runner.rank, runner.iter) == (2, self.rank, 4)
        for weights in runner.model.state_dict().values():
            one, other = all_gather(weights)
            assert torch.equal(one, other)
        super(MultiProcessTestCase, self).tearDown()


def run(name, case=Forked):
    """The test case, and the errors and reasons of its run."""
    before = set(multiprocessing.active_children())
    result, test = unittest.TestResult(), case(name)
    test.run(result)
    assert test.processes == []
    assert not os.path.exists(test.file_name)
    assert set(multiprocessing.active_children()) <= before
    return [text for _, text in [*result.errors, *result.failures]], [reason for _, reason in result.skipped]


@pytest.mark.parametrize("name", ["test_passes", "test_return_code"])
def test_one_that_passes(name):
    assert run(name) == ([], [])


@pytest.mark.conformance
def test_runners_in_the_processes():
    assert run("test_ranks_have_the_same_weights", Training) == ([], [])


def test_one_that_one_rank_fails():
    (error,), _ = run("test_fails")
    assert "RuntimeError: Process 1 exited with error code 10 and exception:" in error
    assert "ValueError: rank 1 has had enough" in error
    assert "Process 0" not in error


def test_one_that_cannot_be_prepared():
    (error,), _ = run("test_not_prepared")
    assert "OSError: no room for it" in error


def test_one_that_is_skipped():
    assert run("test_is_skipped") == ([], ["skipped in its processes; their output has the reason"])


@pytest.mark.parametrize(("name", "codes"), [("test_exits", "[0, 3]"), ("test_is_killed", "[-9, -9]")])
def test_one_whose_processes_end_otherwise(name, codes):
    (error,), _ = run(name)
    assert f"the processes exited with {codes}, in the order of their ranks" in error
    assert "skip_return_code_checks" in error


def test_one_that_takes_too_long():
    (error,), _ = run("test_hangs", Hanging)
    assert "processes [0, 1] did not end within 0.5 s" in error
    assert "Process 1 was at" in error
    assert "in test_hangs" in error


def test_a_name_that_is_no_test():
    with pytest.raises(ValueError, match="test_other"):
        Forked("test_other")
    assert Forked(methodName="test_passes")._testMethodName == "test_passes"
