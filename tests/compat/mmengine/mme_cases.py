"""Runs a piece of a test inside MMEngine's RunnerTestCase, which makes configs and puts everything back."""

import contextlib


@contextlib.contextmanager
def runner_case():
    """A case whose setUp was called: it has ``epoch_based_cfg``, ``iter_based_cfg``, ``build_runner`` and a folder."""
    from mmengine.testing import RunnerTestCase

    class Case(RunnerTestCase):
        def test_it(self):
            pass

    case = Case("test_it")
    case.setUp()
    try:
        yield case
    finally:
        case.tearDown()
