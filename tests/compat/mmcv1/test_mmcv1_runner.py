"""Runners of MMCV 1.x: what users override, set by hand, and get wrong."""

import logging
import os
import warnings

import pytest
import torch
from mmcv1_noisy_runs import LOGGER, Net, Step, loader, made
from torch import nn

from trainwright.base.errors import ConfigError
from trainwright.compat.mmcv1.runner import (
    HOOKS,
    BaseRunner,
    DefaultRunnerConstructor,
    EpochBasedRunner,
    Hook,
    IterBasedRunner,
    IterLoader,
    Priority,
    build_runner,
    get_priority,
    obj_from_dict,
    set_random_seed,
)
from trainwright.compat.mmcv1.runner.builder import RUNNER_BUILDERS, RUNNERS
from trainwright.state import StopAt

BOTH = pytest.mark.parametrize("kind", [EpochBasedRunner, IterBasedRunner])


def length(kind, n=2):
    return {"max_epochs": n} if kind is EpochBasedRunner else {"max_iters": n}


class Notes(Hook):
    """Every stage that is called, with the counters."""

    def __init__(self):
        self.seen = []


def _noting(stage):
    def note(self, runner):
        self.seen.append((stage, runner.mode, runner.epoch, runner.iter, runner.inner_iter))

    return note


for stage in Hook.stages:
    setattr(Notes, stage, _noting(stage))


def stages_of(notes):
    return [seen[0] for seen in notes.seen]


# --- overridden methods ---------------------------------------------------------------------------------------------


@BOTH
def test_a_call_hook_of_ones_own_gets_every_stage(kind):
    notes, called = Notes(), []

    class Own(kind):
        def call_hook(self, fn_name):
            called.append(fn_name)
            super().call_hook(fn_name)

    runner = made(Own, notes, **length(kind))
    runner.run([loader(), loader()], [("train", 1), ("val", 1)])
    assert [name for name in called if name in Hook.stages] == stages_of(notes)
    assert ("before_epoch" in called) == (kind is IterBasedRunner)


def test_a_call_hook_that_was_put_on_the_object_counts_too():
    runner, called = made(EpochBasedRunner, max_epochs=1), []
    runner.call_hook = called.append
    runner.run([loader()], [("train", 1)])
    assert called.count("after_train_iter") == 3


def test_run_iter_may_be_overridden_and_gets_keywords():
    seen = []

    class Own(EpochBasedRunner):
        def run_iter(self, data_batch, train_mode, **kwargs):
            seen.append((train_mode, kwargs))
            super().run_iter(data_batch, train_mode)

    made(Own, max_epochs=1).run([loader(), loader()], [("train", 1), ("val", 1)], extra=3)
    assert seen == [(True, {"extra": 3})] * 3 + [(False, {})] * 3


def test_a_mode_is_the_name_of_a_method():
    class Own(EpochBasedRunner):
        def look(self, data_loader, **kwargs):
            self.looked = [*getattr(self, "looked", []), (len(data_loader), kwargs)]
            self._epoch += 1

    runner = made(Own, max_epochs=2)
    runner.run([loader()], [("look", 1)], extra=1)
    assert runner.looked == [(3, {"extra": 1})] * 2


def test_a_train_of_ones_own_may_call_the_plain_one():
    class Own(IterBasedRunner):
        n = 0

        def train(self, data_loader, **kwargs):
            Own.n += 1
            super().train(data_loader, **kwargs)

    notes = Notes()
    runner = made(Own, notes, max_iters=5)
    runner.run([loader(), loader()], [("train", 2), ("val", 1)])
    assert (Own.n, runner.iter) == (5, 5)
    inner = [seen[4] for seen in notes.seen if seen[0] == "before_train_iter"]
    assert inner == [0, 1, 0, 1, 0]


@BOTH
def test_a_unit_is_run_by_hand(kind):
    """As MMCV's own tests do: the methods are called without run."""
    notes = Notes()
    runner = made(kind, notes, **length(kind))
    given = loader() if kind is EpochBasedRunner else IterLoader(loader())
    runner.train(given)
    runner.val(given)
    assert runner.mode == "val"
    assert isinstance(runner.outputs, dict)
    assert not hasattr(runner, "data_batch")
    assert stages_of(notes).count("before_val_iter") == (3 if kind is EpochBasedRunner else 1)


# --- what is set by hand --------------------------------------------------------------------------------------------


@BOTH
def test_hooks_and_their_list_are_changed_by_hand(kind):
    notes, late = Notes(), Notes()
    runner = made(kind, notes, **length(kind))
    runner._hooks.remove(notes)
    late.after_train_iter = lambda runner: late.seen.append("mine")  # on the object
    late.priority = 60
    runner._hooks = [*runner._hooks, late]
    runner.run([loader()], [("train", 1)])
    assert notes.seen == []
    assert "mine" in late.seen
    assert runner.hooks[-1] is late


def test_a_hook_that_comes_in_the_middle_is_called_at_that_stage():
    notes = Notes()

    class Brings(Hook):
        def before_train_iter(self, runner):
            if runner.iter == 1:
                runner.register_hook(notes)

    made(EpochBasedRunner, Brings(), max_epochs=1).run([loader()], [("train", 1)])
    assert stages_of(notes)[:2] == ["before_train_iter", "after_train_iter"]


@BOTH
def test_a_shorter_run_is_asked_for_by_a_hook(kind):
    class Ends(Hook):
        def after_train_iter(self, runner):
            if runner.iter == 3:
                runner._max_epochs, runner._max_iters = 1, 4

    runner = made(kind, Ends(), **length(kind, 9))
    runner.run([loader()], [("train", 7)])
    assert (runner.iter, runner.max_iters) == ((6, 4) if kind is EpochBasedRunner else (4, 4))


@BOTH
def test_a_stop_that_was_asked_for_ends_a_run_after_the_iteration(kind):
    class Stops(Hook):
        def after_train_iter(self, runner):
            if runner.iter == 1:
                runner.ctx.stop.request("enough", StopAt.ITERATION)

    notes = Notes()
    runner = made(kind, notes, Stops(), **length(kind, 9))
    runner.run([loader(), loader()], [("train", 3), ("val", 1)])
    assert runner.iter == 2
    assert stages_of(notes)[-2:] == ["after_train_iter", "after_run"]


def test_counters_set_by_a_hook_are_those_of_the_run():
    class Jumps(Hook):
        def after_train_iter(self, runner):
            if runner.iter == 0:
                runner._iter = 10
                runner._inner_iter = 7

    notes = Notes()
    runner = made(EpochBasedRunner, Jumps(), notes, max_epochs=1)
    runner.run([loader()], [("train", 1)])
    assert [seen[3:] for seen in notes.seen if seen[0] == "after_train_iter"] == [(10, 7), (11, 1), (12, 2)]


def test_a_run_goes_on_after_an_error():
    class Fails(Hook):
        def after_train_iter(self, runner):
            if runner.iter == 1:
                runner._iter += 1
                raise ValueError("on purpose")

    runner = made(EpochBasedRunner, Fails(), max_epochs=1)
    with pytest.raises(ValueError, match="on purpose"):
        runner.run([loader()], [("train", 1)])
    assert hasattr(runner, "data_batch")
    runner.run([loader()], [("train", 1)])
    assert (runner.epoch, runner.iter, len(runner.model.steps)) == (1, 5, 5)


# --- what is refused ------------------------------------------------------------------------------------------------


@BOTH
def test_a_step_gives_a_dict(kind):
    class Wrong(Net):
        def train_step(self, data, optimizer):
            return 3

    with pytest.raises(TypeError, match=r"must return a dict, but got 3"):
        made(kind, net=Wrong, **length(kind)).run([loader()], [("train", 1)])


def test_a_loader_without_a_batch_is_an_error_of_ours():
    empty = torch.utils.data.DataLoader([])
    with pytest.raises(ConfigError, match="has no batch"):
        made(IterBasedRunner, max_iters=2).run([empty], [("train", 1)])


@BOTH
@pytest.mark.parametrize(
    ("loaders", "workflow", "text"),
    [
        ("none", [("train", 1)], "data_loaders must be a list"),
        ([None], [["train", 1]], "workflow must be a list of tuples"),
        ([None], [("train", 1), ("val", 1)], "2 phases and 1 loaders"),
    ],
)
def test_workflows_that_do_not_fit(kind, loaders, workflow, text):
    with pytest.raises(AssertionError, match=text):
        made(kind, **length(kind)).run(loaders, workflow)


def test_modes_that_are_none():
    with pytest.raises(ValueError, match='no method named "fly" to run an epoch'):
        made(EpochBasedRunner, max_epochs=1).run([loader()], [("fly", 1)])
    with pytest.raises(TypeError, match="mode in workflow must be a str, but got 3"):
        made(EpochBasedRunner, max_epochs=1).run([loader()], [(3, 1)])
    with pytest.raises(ValueError, match='no method named "fly" to run a workflow'):
        made(IterBasedRunner, max_iters=1).run([loader()], [("fly", 1)])


@BOTH
def test_the_length_is_needed_and_may_be_given_to_run(kind):
    name = next(iter(length(kind)))
    with pytest.raises(AssertionError, match=f"{name} must be specified"):
        made(kind).run([loader()], [("train", 1)])
    runner = made(kind)
    with pytest.warns(DeprecationWarning, match=f"setting {name} in run is deprecated"):
        runner.run([loader()], [("train", 1)], **{name: 2})
    assert getattr(runner, name) == 2


MODEL = Net()


@pytest.mark.parametrize(
    ("error", "settings", "text"),
    [
        (TypeError, {"optimizer": "SGD"}, "Optimizer object or dict or None, but got 'SGD'"),
        (TypeError, {"optimizer": {"one": 1}}, r'optimizer\["one"\] is a'),
        (TypeError, {"logger": None}, "logging.Logger object, but got None"),
        (TypeError, {"meta": [1]}, r"dict or None, but got \[1\]"),
        (TypeError, {"work_dir": 1}, '"work_dir" must be a str or None, but got 1'),
        (TypeError, {"batch_processor": 1}, "batch_processor must be callable, but got 1"),
        (ValueError, {"max_iters": 1, "max_epochs": 2}, "max_epochs=2 and max_iters=1"),
        (AssertionError, {"model": nn.Linear(1, 1)}, "Linear has no train_step"),
    ],
)
def test_constructors_that_are_refused(error, settings, text):
    with pytest.raises(error, match=text):
        EpochBasedRunner(**{"model": MODEL, "logger": LOGGER, **settings})


def test_a_batch_processor_and_a_train_step_are_too_much():
    with (
        pytest.warns(DeprecationWarning, match="batch_processor is deprecated"),
        pytest.raises(RuntimeError, match="cannot be both available, and Net has such a method"),
    ):
        EpochBasedRunner(MODEL, batch_processor=print, logger=LOGGER)


def test_a_runner_without_an_optimizer_has_no_rates():
    runner = EpochBasedRunner(MODEL, logger=LOGGER)
    with pytest.raises(RuntimeError, match="lr is not applicable because optimizer does not exist"):
        runner.current_lr()
    with pytest.raises(RuntimeError, match="momentum is not applicable"):
        runner.current_momentum()


# --- hooks ----------------------------------------------------------------------------------------------------------


def test_hooks_stand_by_priority_then_by_arrival():
    runner = EpochBasedRunner(MODEL, logger=LOGGER)
    hooks = [Notes() for _ in range(5)]
    for hook, priority in zip(hooks, ["LOW", "NORMAL", 50, Priority.HIGH, "low"], strict=True):
        runner.register_hook(hook, priority)
    assert runner.hooks == [hooks[3], hooks[1], hooks[2], hooks[0], hooks[4]]
    assert [hook.priority for hook in runner.hooks] == [30, 50, 50, 70, 70]
    with pytest.raises(ValueError, match='"priority" is a reserved attribute for hooks'):
        runner.register_hook(hooks[0])
    with pytest.raises(AssertionError, match="must be an instance of Hook"):
        runner.register_hook(Notes)


def test_priorities_that_are_none():
    assert get_priority("Very_Low") == get_priority(90) == 90
    with pytest.raises(KeyError, match=r"priority 'NORMEL' is unknown.*Did you mean 'NORMAL'"):
        get_priority("NORMEL")
    with pytest.raises(ValueError, match="between 0 and 100"):
        get_priority(-1)
    with pytest.raises(TypeError, match="an integer, a name or a Priority, but got None"):
        get_priority(None)


def test_hooks_have_methods_of_their_own_and_are_called_by_name():
    class Own(Hook):
        called = 0

        def before_lunch(self, runner):
            self.called += 1

    hook = Own()
    runner = EpochBasedRunner(MODEL, logger=LOGGER)
    runner.register_hook(hook)
    runner.call_hook("before_lunch")
    assert hook.called == 1
    with pytest.raises(AttributeError, match="after_lunch"):
        runner.call_hook("after_lunch")


def test_configs_of_hooks_stay_as_they_are():
    configs = [
        {"policy": "step", "step": [2]},
        {"grad_clip": None},
        {"interval": 1},
        {"interval": 5, "hooks": [{"type": "TextLoggerHook"}]},
        {"policy": "CosineAnnealing", "min_momentum_ratio": 0.1},
    ]
    copies = [{**config} for config in configs]
    optimizer = torch.optim.SGD(MODEL.parameters(), 0.1)
    for kind in (EpochBasedRunner, IterBasedRunner):
        runner = kind(MODEL, optimizer=optimizer, logger=LOGGER, **length(kind))
        runner.register_training_hooks(*configs)
        assert [type(hook).__name__ for hook in runner.hooks] == [
            "StepLrUpdaterHook",
            "CosineAnnealingMomentumUpdaterHook",
            "OptimizerHook",
            "CheckpointHook",
            "IterTimerHook",
            "TextLoggerHook",
        ]
    assert configs == copies
    assert runner.hooks[0].by_epoch is False
    assert runner.hooks[3].by_epoch is False
    assert runner.hooks[5].by_epoch is False


def test_info_about_hooks_names_each_stage():
    runner = made(EpochBasedRunner, max_epochs=1)
    assert runner.get_hook_info().splitlines()[:3] == [
        "before_train_epoch:",
        "(NORMAL      ) Draws                              ",
        " -------------------- ",
    ]
    runner._hooks[0].priority = 42
    assert "(42          ) Step                               " in runner.get_hook_info()


# --- building and small things --------------------------------------------------------------------------------------


def test_runners_are_built_by_constructors():
    assert set(RUNNERS.module_dict) == {"EpochBasedRunner", "IterBasedRunner", "Runner"}
    cfg = {"type": "EpochBasedRunner", "max_epochs": 4}
    runner = build_runner(cfg, {"model": MODEL, "logger": LOGGER})
    assert (type(runner), runner.max_epochs) == (EpochBasedRunner, 4)
    assert cfg == {"type": "EpochBasedRunner", "max_epochs": 4}
    with pytest.raises(TypeError, match="runner_cfg should be a dict, but got 3"):
        DefaultRunnerConstructor(3)

    class Named(DefaultRunnerConstructor):
        def __call__(self):
            runner = super().__call__()
            runner.my_name = "mine"
            return runner

    RUNNER_BUILDERS.register_module(module=Named)
    try:
        runner = build_runner({**cfg, "constructor": "Named"}, {"model": MODEL, "logger": LOGGER})
    finally:
        del RUNNER_BUILDERS.module_dict["Named"]
    assert runner.my_name == "mine"


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        BaseRunner(MODEL, logger=LOGGER)


def test_every_exported_hook_is_registered():
    from trainwright.compat.mmcv1.runner import hooks

    exported = {name for name in hooks.__all__ if name not in ("HOOKS", "Hook", "LoggerHook")}
    assert exported - {"LrUpdaterHook", "MomentumUpdaterHook", "DistEvalHook", "EvalHook"} <= set(HOOKS.module_dict)


def test_objects_by_dict():
    assert (
        obj_from_dict({"type": "Linear", "in_features": 2}, nn, {"out_features": 3, "in_features": 9}).in_features == 2
    )
    assert obj_from_dict({"type": dict}, default_args={"a": 1}) == {"a": 1}
    with pytest.raises(AssertionError, match="with the key 'type'"):
        obj_from_dict({"a": 1})
    with pytest.raises(AssertionError, match="default_args must be a dict"):
        obj_from_dict({"type": dict}, default_args=3)
    with pytest.raises(TypeError, match="type must be a str or valid type, but got 3"):
        obj_from_dict({"type": 3})


def test_seeds(monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    monkeypatch.setattr("trainwright.compat.mmcv1.runner.get_dist_info", lambda: (2, 4))
    set_random_seed(3, use_rank_shift=True)
    shifted = torch.rand(2)
    set_random_seed(5)
    assert torch.equal(torch.rand(2), shifted)
    assert os.environ["PYTHONHASHSEED"] == "5"


def test_a_run_is_announced(caplog):
    with caplog.at_level(logging.INFO, LOGGER.name):
        made(EpochBasedRunner, max_epochs=1).run([loader()], [("train", 1)])
    assert "host: " in caplog.text
    assert "before_train_epoch:\n(NORMAL      ) Draws" in caplog.text
    assert "workflow: [('train', 1)], max: 1 epochs" in caplog.text


def test_nothing_warns_in_a_plain_run():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runner = made(EpochBasedRunner, max_epochs=1)
        runner.run([loader()], [("train", 1)])
    assert any(isinstance(hook, Step) for hook in runner.hooks)
    assert runner.strategy.unwrapped_model is runner.model
    assert runner.strategy is runner.strategy
    runner.model = Net()
    assert runner.strategy.unwrapped_model is runner.model
