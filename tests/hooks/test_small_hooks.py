"""RuntimeInfo, timer, sampler seed, logger and scheduler hooks where a whole run does not show it."""

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader

from trainwright.base.errors import ConfigTypeError
from trainwright.data import DefaultSampler
from trainwright.engine import Hook
from trainwright.hooks import DistSamplerSeedHook, LoggerHook, ParamSchedulerHook
from trainwright.hooks.runtime_info_hook import is_scalar
from trainwright.runner import Runner
from trainwright.testing.toys import ToyDataset, toy_config


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"interval": 0}, "interval must be at least 1, but got 0"),
        ({"interval": "10"}, "interval must be a whole number of iterations, but got '10'"),
        ({"interval_exp_name": -1}, "interval_exp_name must be at least 1"),
        ({"interval": True}, "interval must be a whole number"),
    ],
)
def test_logger_settings(settings, text):
    with pytest.raises(ConfigTypeError, match=text):
        LoggerHook(**settings)


def test_scalars():
    assert is_scalar(torch.zeros(1, 1))
    assert is_scalar(1.5)
    assert not is_scalar(torch.zeros(2))
    assert not is_scalar("x")


@pytest.mark.parametrize("kind", ["sampler", "batch_sampler"])
def test_the_sampler_hears_of_the_epoch(tmp_path, kind):
    data = ToyDataset(16)
    sampler = DefaultSampler(data, seed=0)
    given = {"sampler": sampler, "batch_size": 4} if kind == "sampler" else {}
    if kind == "batch_sampler":
        given = {"batch_sampler": BatchSampler(sampler, 4, drop_last=False)}
    epochs = []

    class Watch(Hook):
        priority = "LOWEST"

        def before_train_epoch(self, runner):
            epochs.append(sampler.epoch)

    cfg = toy_config(tmp_path, train_dataloader=DataLoader(data, **given), custom_hooks=[Watch()])
    Runner.from_cfg(cfg).train()
    assert epochs == [0, 1]


def test_a_loader_without_a_sampler_is_left_alone():
    class Loop:
        dataloader = [1, 2]

    class Fake:
        train_loop, epoch = Loop(), 3

    DistSamplerSeedHook().before_train_epoch(Fake())


def test_schedulers_of_both_kinds_step_at_their_own_time(tmp_path):
    rates = []

    class Watch(Hook):
        priority = "VERY_HIGH"

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            rates.append(round(runner.optim_wrapper.get_lr()["lr"][0], 6))

    schedule = [
        {"type": "MultiStepLR", "milestones": [1], "gamma": 0.1},
        {"type": "MultiStepLR", "milestones": [2, 6], "gamma": 0.5, "by_epoch": False},
    ]
    Runner.from_cfg(toy_config(tmp_path, param_scheduler=schedule, custom_hooks=[Watch()])).train()
    assert rates == [0.1, 0.1, 0.05, 0.05, 0.005, 0.005, 0.0025, 0.0025]


def test_schedulers_that_are_no_list():
    class Fake:
        param_schedulers = 3

    with pytest.raises(ConfigTypeError, match="should be list of ParamScheduler or a dict .*but is 3"):
        ParamSchedulerHook().after_train_epoch(Fake())


def test_a_scheduler_that_watches_a_metric(tmp_path):
    class Watching:
        by_epoch, need_val_args, seen, n_epochs = True, True, [], 0

        def step(self, metrics=None):
            if metrics is None:
                Watching.n_epochs += 1
            else:
                self.seen.append(metrics)

        def state_dict(self):
            return {}

    runner = Runner.from_cfg(toy_config(tmp_path))
    _ = runner.train_loop
    runner.optim_wrapper = runner.strategy.attach_optim_wrapper({"optimizer": {"type": "SGD", "lr": 0.1}})
    runner.param_schedulers = runner.strategy.param_schedulers = [Watching()]
    runner.train()
    runner.val()
    assert [metrics.keys() for metrics in Watching.seen] == [{"accuracy/top1"}] * 2
    assert Watching.n_epochs == 2


def test_an_optimizer_wrapper_with_odd_rates(tmp_path):
    runner = Runner.from_cfg(toy_config(tmp_path))
    wrapper = runner.build_optim_wrapper({"optimizer": {"type": "SGD", "lr": 0.1}})
    wrapper.get_lr = lambda: [0.1]
    runner.optim_wrapper = runner.strategy.optim_wrapper = wrapper
    with pytest.raises(ConfigTypeError, match=r"get_lr\(\)` should return a dict .*but got <class .list.>"):
        runner.train()
