from types import SimpleNamespace

import pytest

from trainwright.engine import Event, Hook

HOOK = Hook()


def at(epoch=0, iteration=0, max_epochs=None, max_iters=None):
    return SimpleNamespace(epoch=epoch, iter=iteration, max_epochs=max_epochs, max_iters=max_iters)


def test_every_n_epochs():
    assert [e for e in range(9) if HOOK.every_n_epochs(at(e), 3)] == [2, 5, 8]
    assert [e for e in range(9) if HOOK.every_n_epochs(at(e), 3, start=4)] == [3, 6]
    assert [e for e in range(4) if HOOK.every_n_epochs(at(e), 1, start=2)] == [1, 2, 3]


@pytest.mark.parametrize("method", [HOOK.every_n_train_iters, HOOK.every_n_iters])
def test_every_n_iters(method):
    assert [i for i in range(10) if method(at(iteration=i), 4)] == [3, 7]
    assert [i for i in range(10) if method(at(iteration=i), 4, start=1)] == [0, 4, 8]


def test_every_n_inner_iters():
    assert [i for i in range(7) if HOOK.every_n_inner_iters(i, 3)] == [2, 5]


@pytest.mark.parametrize("n", [0, -1])
def test_never_with_an_interval_below_one(n):
    assert not any(
        HOOK.every_n_epochs(at(k, k), n) or HOOK.every_n_iters(at(k, k), n) or HOOK.every_n_inner_iters(k, n)
        for k in range(5)
    )


def test_ends():
    assert [i for i in range(4) if HOOK.end_of_epoch([1, 2, 3], i)] == [2]
    assert [e for e in range(4) if HOOK.is_last_train_epoch(at(e, max_epochs=3))] == [2]
    assert [i for i in range(4) if HOOK.is_last_train_iter(at(iteration=i, max_iters=3))] == [2]
    assert HOOK.is_last_train_epoch(at()) is False
    assert HOOK.is_last_train_iter(at()) is False


def test_triggered_stages_are_in_the_order_of_a_run():
    class Some(Hook):
        def after_run(self, runner):
            pass

        def _before_epoch(self, runner, mode="train"):
            pass

        def before_train(self, runner):
            pass

    expected = ["before_train", "before_train_epoch", "before_val_epoch", "before_test_epoch", "after_run"]
    assert Some().get_triggered_stages() == expected
    assert HOOK.get_triggered_stages() == []


def test_stages_name_every_event_once():
    assert sorted(Hook.stages) == sorted(event.value for event in Event)
