"""The base of hooks, and the small ones, called by hand with runners that are mocks."""

from unittest import mock

import pytest

pytestmark = pytest.mark.usefixtures("mmengine")

PLAIN = """before_run after_run before_train after_train before_val after_val before_test after_test before_train_epoch
    before_val_epoch before_test_epoch after_train_epoch after_val_epoch after_test_epoch"""


def test_every_method_of_the_base_can_be_called_and_returns_nothing():
    from mmengine.hooks import Hook

    hook, runner = Hook(), mock.Mock()
    for name in PLAIN.split():
        assert getattr(hook, name)(runner) is None
    for mode in ("train", "val", "test"):
        assert getattr(hook, f"before_{mode}_iter")(runner, 0, {}) is None
        assert getattr(hook, f"after_{mode}_iter")(runner, 0, {}, {}) is None
    assert hook.before_save_checkpoint(runner, {}) is None
    assert hook.after_load_checkpoint(runner, {}) is None
    assert hook._before_epoch(runner) is None
    assert hook._after_epoch(runner) is None
    assert hook._before_iter(runner, 0, {}) is None
    assert hook._after_iter(runner, 0, {}, {}) is None


def test_counting_helpers_read_plain_counters():
    from mmengine.hooks import Hook

    hook, runner = Hook(), mock.Mock()
    for done in range(1, 30):
        runner.epoch = runner.iter = done - 1
        assert hook.every_n_epochs(runner, 3) == (done % 3 == 0)
        assert hook.every_n_train_iters(runner, 3) == (done % 3 == 0)
        assert hook.every_n_inner_iters(done - 1, 3) == (done % 3 == 0)
        for start in (1, 2, 3, 5):
            assert hook.every_n_epochs(runner, 3, start) == (done >= start and (done - start) % 3 == 0)
            assert hook.every_n_train_iters(runner, 3, start) == (done >= start and (done - start) % 3 == 0)
    assert not hook.every_n_epochs(runner, 0)
    assert not hook.every_n_inner_iters(2, -1)


def test_ends_are_seen():
    from mmengine.hooks import Hook

    hook, runner = Hook(), mock.Mock()
    loader = mock.Mock()
    loader.__len__ = mock.Mock(return_value=100)
    assert hook.end_of_epoch(loader, 99)
    assert not hook.end_of_epoch(loader, 98)
    runner.epoch, runner._max_epochs, runner.max_epochs = 1, 2, 2
    assert hook.is_last_train_epoch(runner)
    runner.max_epochs = 3
    assert not hook.is_last_train_epoch(runner)
    runner.iter, runner.max_iters = 1, 2
    assert hook.is_last_train_iter(runner)
    runner.max_iters = 3
    assert not hook.is_last_train_iter(runner)


def test_triggered_stages_name_what_is_overridden():
    from mmengine.hooks import Hook

    class OfMine(Hook):
        def before_run(self, runner):
            pass

        def _after_epoch(self, runner, mode="train"):
            pass

    named = OfMine().get_triggered_stages()
    assert sorted(named) == ["after_test_epoch", "after_train_epoch", "after_val_epoch", "before_run"]
    assert Hook().get_triggered_stages() == []
    assert Hook.priority == "NORMAL"


@pytest.mark.parametrize("available", [True, False])
def test_the_cache_is_emptied_where_it_is_asked_for(available):
    from mmengine.hooks import EmptyCacheHook

    with mock.patch("torch.cuda.empty_cache") as empty, mock.patch("torch.cuda.is_available", return_value=available):
        runner = mock.Mock()
        hook = EmptyCacheHook(before_epoch=True, after_epoch=True, after_iter=True)
        hook._after_iter(runner, 0)
        hook._before_epoch(runner)
        hook._after_epoch(runner)
        assert (hook._do_after_iter, hook._do_before_epoch, hook._do_after_epoch) == (True, True, True)
        if available:
            assert empty.call_count == 3
        hook = EmptyCacheHook(True, True, False)
        hook._after_iter(runner, 0)
        if available:
            assert empty.call_count == 3


def test_the_sampler_gets_the_epoch():
    from mmengine.hooks import DistSamplerSeedHook

    hook, runner = DistSamplerSeedHook(), mock.Mock()
    runner.epoch = 1
    runner.train_loop.dataloader.sampler = mock.Mock(spec=["set_epoch"])
    hook.before_train_epoch(runner)
    runner.train_loop.dataloader.sampler.set_epoch.assert_called_once_with(1)

    runner.train_loop.dataloader.sampler = mock.Mock(spec_set=True)
    runner.train_loop.dataloader.batch_sampler.sampler = mock.Mock(spec=["set_epoch"])
    hook.before_train_epoch(runner)
    runner.train_loop.dataloader.batch_sampler.sampler.set_epoch.assert_called()


def test_schedulers_of_iterations_are_stepped_after_an_iteration():
    from mmengine.hooks import ParamSchedulerHook

    hook, runner = ParamSchedulerHook(), mock.Mock()
    scheduler = mock.Mock(step=mock.Mock(), by_epoch=False)
    runner.param_schedulers = [scheduler]
    hook.after_train_iter(runner, 0)
    scheduler.step.assert_called()

    several = {"first": [mock.Mock(by_epoch=False)], "second": [mock.Mock(by_epoch=False)]}
    runner.param_schedulers = several
    hook.after_train_iter(runner, 0)
    several["first"][0].step.assert_called_once()
    several["second"][0].step.assert_called_once()

    by_epoch = mock.Mock(by_epoch=True)
    runner.param_schedulers = [by_epoch]
    hook.after_train_iter(runner, 0)
    by_epoch.step.assert_not_called()

    runner.param_schedulers = mock.Mock()
    with pytest.raises(TypeError, match="runner.param_schedulers should be list of ParamScheduler or a dict"):
        hook.after_train_iter(runner, 0)
    runner.param_schedulers = None
    hook.after_train_iter(runner, 0)


def test_schedulers_of_epochs_are_stepped_after_an_epoch():
    from mmengine.hooks import ParamSchedulerHook

    hook, runner = ParamSchedulerHook(), mock.Mock()
    scheduler = mock.Mock(step=mock.Mock(), by_epoch=True)
    runner.param_schedulers = [scheduler]
    hook.after_train_epoch(runner)
    scheduler.step.assert_called()

    several = {"first": [mock.Mock(by_epoch=True)], "second": [mock.Mock(by_epoch=True)]}
    runner.param_schedulers = several
    hook.after_train_epoch(runner)
    several["first"][0].step.assert_called_once()
    several["second"][0].step.assert_called_once()

    runner.param_schedulers = mock.Mock()
    with pytest.raises(TypeError, match="runner.param_schedulers should be list of ParamScheduler or a dict"):
        hook.after_train_epoch(runner)
    runner.param_schedulers = None
    hook.after_train_epoch(runner)


def test_schedulers_that_watch_a_metric_are_stepped_after_a_validation():
    from mmengine.hooks import ParamSchedulerHook
    from mmengine.optim import _ParamScheduler

    hook, runner = ParamSchedulerHook(), mock.Mock()
    metrics = {"loss": 1.0}
    watching = mock.Mock(spec=_ParamScheduler, by_epoch=True, need_val_args=True)
    other = mock.Mock(spec=_ParamScheduler, by_epoch=True, need_val_args=False)
    runner.param_schedulers = [watching, other]
    hook.after_val_epoch(runner)
    watching.step.assert_not_called()
    hook.after_val_epoch(runner, metrics)
    watching.step.assert_called_once_with(metrics)
    other.step.assert_not_called()

    runner.param_schedulers = {"first": [watching], "second": [other]}
    hook.after_val_epoch(runner, metrics)
    assert watching.step.call_count == 2

    # not built yet
    runner.param_schedulers = [{"type": "ReduceOnPlateauLR"}]
    hook.after_val_epoch(runner, metrics)
    runner.param_schedulers = None
    hook.after_val_epoch(runner, metrics)
    runner.param_schedulers = mock.Mock()
    with pytest.raises(TypeError, match="runner.param_schedulers should be list of ParamScheduler or a dict"):
        hook.after_val_epoch(runner, metrics)
