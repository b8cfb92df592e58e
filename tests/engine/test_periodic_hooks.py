import pytest

from trainwright.engine import Hook


class Every(Hook):
    """Works at every ``n``-th iteration and keeps at which it was called."""

    def __init__(self, n):
        self.n, self.called = n, []

    def next_train_iter(self, runner):
        return runner.iter + (self.n - 1 - runner.iter % self.n)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.called.append(runner.iter)


class Always(Hook):
    def __init__(self):
        self.called = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.called.append(runner.iter)


@pytest.mark.parametrize("intervals", [(1,), (3,), (5, 1), (2, 3), (7, 5, 2), (30,)])
@pytest.mark.parametrize("by_epoch", [True, False])
def test_they_are_called_when_due_and_no_other_time(tiny, intervals, by_epoch):
    hooks = [Every(n) for n in intervals]
    always = Always()
    if by_epoch:
        tiny(*hooks, always).train_epochs(range(7), max_epochs=3)
    else:
        tiny(*hooks, always).train_iters(range(7), max_iters=21)
    assert always.called == list(range(21))
    # When one of them wakes all are asked, but only those that are due are called.
    for hook in hooks:
        assert hook.called == [i for i in range(21) if (i + 1) % hook.n == 0]


def test_a_subclass_that_overrides_after_train_iter_alone_is_called_always(tiny):
    class Child(Every):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            self.called.append(runner.iter)

    child, parent = Child(5), Every(5)
    tiny(child, parent).train_epochs(range(4), max_epochs=3)
    assert child.called == list(range(12))
    assert parent.called == [4, 9]


def test_a_subclass_that_overrides_both_sleeps(tiny):
    class Child(Every):
        def next_train_iter(self, runner):
            return 2 if runner.iter <= 2 else 10**9

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            self.called.append(runner.iter)

    child = Child(1)
    tiny(child).train_epochs(range(4), max_epochs=2)
    assert child.called == [2]


def test_a_subclass_that_changes_the_interval_alone_sleeps(tiny):
    class Child(Every):
        def next_train_iter(self, runner):
            return max(6, runner.iter)

    child = Child(1)
    tiny(child).train_epochs(range(4), max_epochs=2)
    assert child.called == [6, 7]


class EveryGeneric(Hook):
    def __init__(self):
        self.called = []

    def next_train_iter(self, runner):
        return runner.iter + (2 - runner.iter % 3)

    def _after_iter(self, runner, batch_idx, data_batch=None, outputs=None, mode="train"):
        self.called.append(runner.iter)


def test_the_generic_method_sleeps_as_well_and_wakes_in_a_subclass(tiny):
    class Child(EveryGeneric):
        def _after_iter(self, runner, batch_idx, data_batch=None, outputs=None, mode="train"):
            self.called.append(runner.iter)

    parent, child = EveryGeneric(), Child()
    tiny(parent, child).train_epochs(range(6), max_epochs=1)
    assert parent.called == [2, 5]
    assert child.called == list(range(6))


def test_a_method_set_on_the_instance_is_called_always(tiny):
    hook, called = Every(4), []
    hook.after_train_iter = lambda runner, batch_idx, data_batch=None, outputs=None: called.append(runner.iter)
    tiny(hook).train_epochs(range(6), max_epochs=1)
    assert called == list(range(6))


def test_none_means_every_iteration_until_it_is_asked_again(tiny):
    class Moody(Every):
        def next_train_iter(self, runner):
            return None if runner.iter < 4 else 10**9

    moody = Moody(1)
    tiny(moody).train_epochs(range(4), max_epochs=3)  # asked at the start of each epoch
    assert moody.called == [0, 1, 2, 3]


def test_an_answer_in_the_past_means_now(tiny):
    class Late(Every):
        def next_train_iter(self, runner):
            return 0

    late = Late(1)
    tiny(late).train_epochs(range(3), max_epochs=2)
    assert late.called == list(range(6))


def test_a_hook_that_arrives_in_the_middle_is_called(tiny):
    late = Always()

    class Bringer(Every):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 2:
                runner.ctx.hooks.add(late)

    sleeper = Every(4)
    tiny(Bringer(1), sleeper).train_epochs(range(6), max_epochs=1)
    assert late.called == [3, 4, 5]
    assert 3 in sleeper.called


def test_a_run_taken_up_in_the_middle_wakes_at_the_right_iterations(tiny):
    hook = Every(5)
    runner = tiny(hook)
    runner.ctx.clock.load_state_dict({"epoch": 1, "iter": 8, "inner_iter": 1})
    runner.train_epochs(range(7), max_epochs=3)
    assert hook.called[:2] == [9, 14]


def test_a_loop_of_one_s_own_calls_every_hook_by_name(tiny):
    hook = Every(4)
    runner = tiny(hook)
    for i in range(3):
        runner.call_hook("after_train_iter", batch_idx=i, data_batch=None, outputs=None)
        runner.ctx.clock.tick()
    assert hook.called == [0, 1, 2]
