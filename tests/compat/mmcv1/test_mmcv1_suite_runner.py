"""Construction, registration rules, saving and seeds of the runners, as MMCV 1.x's users rely on them."""

import logging
import os
import random
import re
import warnings

import numpy as np
import pytest
import torch
from mmcv1_suite import TwoParts, bare_runner, demo_runner, ones
from torch import nn

LOGGER = logging.getLogger("mmcv1_suite")
KINDS = ("EpochBasedRunner", "IterBasedRunner")


class Silent(nn.Module):
    """A model without the methods of a runner."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)


class Speaking(Silent):
    def train_step(self):
        """No arguments: it is never called."""

    def val_step(self):
        """As above."""


def a_processor():
    """It is never called."""


@pytest.fixture(params=[*KINDS, "Runner"])
def runner_class(request, mmcv):
    warnings.filterwarnings("ignore", "Runner was deprecated", DeprecationWarning)  # until the test ends
    found = mmcv.runner.RUNNERS.get(request.param)
    if found is None:  # the old name is not in the registry
        found = getattr(mmcv.runner, request.param)
        assert issubclass(found, mmcv.runner.EpochBasedRunner)
    return found


def test_the_registry_has_the_two_runners(mmcv):
    assert set(KINDS) <= set(mmcv.runner.RUNNERS.module_dict)
    for runner_class in mmcv.runner.RUNNERS.module_dict.values():
        assert issubclass(runner_class, mmcv.runner.BaseRunner)


def test_build_runner(mmcv, tmp_path):
    common = {"model": Speaking(), "work_dir": str(tmp_path / "work"), "logger": LOGGER}
    build = mmcv.runner.build_runner
    cfg = {"type": "EpochBasedRunner", "max_epochs": 1}
    runner = build(cfg, default_args=common)
    assert (runner._max_epochs, runner.max_epochs, runner._max_iters) == (1, 1, None)
    assert cfg == {"type": "EpochBasedRunner", "max_epochs": 1}  # is as it was
    runner = build({"type": "IterBasedRunner", "max_iters": 1}, default_args=common)
    assert (runner._max_iters, runner.max_iters, runner._max_epochs) == (1, 1, None)
    with pytest.raises(ValueError, match="Only one of"):
        build({"type": "IterBasedRunner", "max_epochs": 1, "max_iters": 1}, default_args=common)


def test_a_batch_processor_is_taken_and_deprecated(runner_class):
    with pytest.warns(DeprecationWarning, match="batch_processor"):
        runner = runner_class(Silent(), a_processor, logger=LOGGER)
    assert runner.batch_processor is a_processor


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"model": Silent(), "batch_processor": 0}, TypeError),
        ({"model": Speaking(), "optimizer": "no optimizer"}, TypeError),
        (
            {"model": Speaking(), "optimizer": {"one": torch.optim.Adam(Silent().parameters()), "two": "none"}},
            TypeError,
        ),
        ({"model": Speaking(), "logger": None}, TypeError),
        ({"model": Speaking(), "meta": ["a list"]}, TypeError),
        ({"model": Speaking(), "work_dir": 1}, TypeError),
        ({"model": Silent()}, AssertionError),
    ],
    ids=["processor", "optimizer", "optimizers", "logger", "meta", "work_dir", "model"],
)
def test_what_is_refused(runner_class, arguments, error):
    with pytest.raises(error):
        runner_class(**{"logger": LOGGER, **arguments})


def test_a_processor_and_a_train_step_are_one_too_many(runner_class):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RuntimeError):
            runner_class(Speaking(), a_processor, logger=LOGGER)


def test_a_work_dir_is_made_and_nothing_is_put_into_it(runner_class, tmp_path):
    work_dir = tmp_path / "one" / "two"
    for _ in range(2):
        runner = runner_class(Speaking(), work_dir=str(work_dir), logger=LOGGER)
        assert work_dir.is_dir()
        assert runner.work_dir == str(work_dir)
    os.removedirs(work_dir)  # which only empty folders allow
    assert not work_dir.exists()


def test_models_in_a_wrapper(runner_class, mmcv):
    from mmcv.parallel import MMDataParallel

    wrapped = MMDataParallel(Speaking())
    runner = runner_class(wrapped, logger=LOGGER)
    assert runner.model is wrapped
    assert runner.model_name == runner._model_name == "Speaking"
    with pytest.warns(DeprecationWarning, match="batch_processor"):
        runner_class(MMDataParallel(Silent()), a_processor, logger=LOGGER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RuntimeError):
            runner_class(wrapped, a_processor, logger=LOGGER)


def test_save_checkpoint(runner_class, mmcv, tmp_path):
    runner = runner_class(model=Speaking(), logger=LOGGER)
    with pytest.raises(TypeError):
        runner.save_checkpoint(str(tmp_path), meta=[])
    runner.save_checkpoint(str(tmp_path))
    name = "epoch_1.pth" if isinstance(runner, mmcv.runner.EpochBasedRunner) else "iter_1.pth"
    latest = tmp_path / "latest.pth"
    assert latest.is_symlink()
    assert os.path.realpath(latest) == os.path.realpath(tmp_path / name)
    saved = torch.load(latest)  # in its default mode, which runs no code
    assert set(saved["state_dict"]) == set(runner.model.state_dict())
    assert {"epoch", "iter", "mmcv_version", "time"} <= set(saved["meta"])
    runner.save_checkpoint(str(tmp_path), filename_tmpl="mine_{}.pth", create_symlink=False, meta={"note": "yes"})
    assert torch.load(tmp_path / "mine_1.pth")["meta"]["note"] == "yes"
    assert os.path.realpath(latest) == os.path.realpath(tmp_path / name)


LR_CONFIGS = [
    {"policy": "CosineAnnealing", "by_epoch": False, "min_lr_ratio": 0, "warmup_iters": 2, "warmup_ratio": 0.9},
    {"policy": "Cyclic", "by_epoch": False, "target_ratio": (10, 1), "cyclic_times": 1, "step_ratio_up": 0.4},
    {"policy": "cyclic", "by_epoch": False, "target_ratio": (0.85 / 0.95, 1), "cyclic_times": 1, "step_ratio_up": 0.4},
    {"policy": "Step", "warmup": "linear", "warmup_iters": 500, "warmup_ratio": 1 / 3, "step": [8, 11]},
    {"policy": "step", "warmup": "linear", "warmup_iters": 500, "warmup_ratio": 1 / 3, "step": [8, 11]},
    {"policy": "fixed"},
    {"policy": "poly", "power": 0.9},
]
MOMENTUM_CONFIGS = [
    {"policy": "CosineAnnealing", "min_momentum_ratio": 0.99 / 0.95, "by_epoch": False},
    {"policy": "Cyclic", "by_epoch": False, "target_ratio": (0.85 / 0.95, 1), "cyclic_times": 1, "step_ratio_up": 0.4},
    {"policy": "cyclic", "by_epoch": False, "target_ratio": (0.85 / 0.95, 1), "cyclic_times": 1, "step_ratio_up": 0.4},
    {"policy": "step", "step": [3]},
]


def test_policies_are_found_by_their_names(runner_class):
    """A lower-case name gets its capital; one with a capital is taken as it is."""
    runner = runner_class(model=Speaking(), logger=LOGGER)
    for config in LR_CONFIGS:
        name = config["policy"]
        runner.register_lr_hook(dict(config))
        assert type(runner.hooks[-1]).__name__ == f"{name[0].upper()}{name[1:]}LrUpdaterHook"
    assert len(runner.hooks) == len(LR_CONFIGS)
    runner.register_momentum_hook(None)
    for config in MOMENTUM_CONFIGS:
        runner.register_momentum_hook(dict(config))
    assert len(runner.hooks) == len(LR_CONFIGS) + len(MOMENTUM_CONFIGS)
    assert sum(type(hook).__name__ == "CyclicMomentumUpdaterHook" for hook in runner.hooks) == 2


def test_hooks_of_lr_and_momentum_may_be_objects(runner_class, mmcv):
    from mmcv.runner.hooks.lr_updater import CosineRestartLrUpdaterHook
    from mmcv.runner.hooks.momentum_updater import CosineAnnealingMomentumUpdaterHook

    runner = runner_class(model=Speaking(), logger=LOGGER)
    lr = CosineRestartLrUpdaterHook(periods=[2, 3], restart_weights=[1, 0.5], min_lr=0)
    momentum = CosineAnnealingMomentumUpdaterHook(min_momentum=0.1)
    runner.register_lr_hook(lr)
    runner.register_momentum_hook(momentum)
    assert [hook for hook in runner.hooks if hook in (lr, momentum)] == [lr, momentum]


def test_timer_hooks(runner_class, mmcv):
    runner = runner_class(model=Speaking(), logger=LOGGER)
    runner.register_timer_hook(None)
    assert len(runner.hooks) == 0
    runner.register_timer_hook({"type": "IterTimerHook"})
    assert len(runner.hooks) == 1
    assert isinstance(runner.hooks[0], mmcv.runner.hooks.IterTimerHook)
    runner.register_timer_hook(mmcv.runner.hooks.IterTimerHook())
    assert len(runner.hooks) == 2


def test_custom_hooks(runner_class, mmcv):
    registry = mmcv.runner.HOOKS

    @registry.register_module(name="SuiteHook", force=True)
    class SuiteHook(mmcv.runner.Hook):
        def __init__(self, info):
            self.info = info

    runner = runner_class(model=Speaking(), logger=LOGGER)
    runner.register_custom_hooks(None)
    assert runner.hooks == []
    first = SuiteHook(info="object")
    runner.register_custom_hooks(first)
    runner.register_custom_hooks({"type": "SuiteHook", "info": "low", "priority": "LOW"})
    runner.register_custom_hooks([{"type": "SuiteHook", "info": "high", "priority": "HIGH"}, SuiteHook("last")])
    assert [hook.info for hook in runner.hooks] == ["high", "object", "last", "low"]
    assert runner.hooks[0].priority == mmcv.runner.Priority.HIGH.value
    with pytest.raises(ValueError, match="priority"):
        runner.register_hook(first)  # it has its priority already
    with pytest.raises(AssertionError):
        runner.register_hook("no hook")
    registry.module_dict.pop("SuiteHook")


def test_training_hooks_come_with_their_priorities(mmcv, tmp_path):
    """Six kinds, in the order that MMCV gives them, and custom ones in between."""

    class Mine(mmcv.runner.Hook):
        def before_run(self, runner):
            pass

    runner = bare_runner(tmp_path)
    runner.register_training_hooks(
        lr_config={"policy": "step", "step": [1]},
        optimizer_config={"grad_clip": None},
        checkpoint_config={"interval": 1},
        log_config={"interval": 1, "hooks": [{"type": "TextLoggerHook"}]},
        momentum_config={"policy": "step", "step": [1]},
        custom_hooks_config=Mine(),
    )
    found = [(type(hook).__name__, hook.priority) for hook in runner.hooks]
    assert found == [
        ("StepLrUpdaterHook", 10),
        ("StepMomentumUpdaterHook", 30),
        ("OptimizerHook", 40),
        ("CheckpointHook", 50),
        ("Mine", 50),
        ("IterTimerHook", 70),
        ("TextLoggerHook", 90),
    ]
    assert isinstance(runner.hooks[4], Mine)
    info = runner.get_hook_info()
    assert re.search(r"^before_train_iter:$\n^\(VERY_HIGH +\) StepLrUpdaterHook +$", info, re.MULTILINE)
    assert info.index("before_run:") < info.index("before_train_epoch:") < info.index("after_train_iter:")
    assert "(NORMAL      ) Mine" in info


@pytest.fixture
def toy_hook(mmcv):
    """A hook that says what it was made for, and takes whatever it is given."""
    registry = mmcv.runner.HOOKS

    @registry.register_module(name="SuiteToy", force=True)
    class SuiteToy(mmcv.runner.Hook):
        def __init__(self, info, *args, **kwargs):
            self.info = info

    yield SuiteToy
    registry.module_dict.pop("SuiteToy")


def test_hooks_by_name_and_number_of_their_priority(mmcv, toy_hook, tmp_path):
    names = [
        "HIGHEST", "VERY_HIGH", "HIGH", "ABOVE_NORMAL", "NORMAL", "BELOW_NORMAL", "LOW", "VERY_LOW", "LOWEST",
    ]  # fmt: skip
    shuffled = random.Random(0).sample(names, len(names))
    runner = bare_runner(tmp_path)
    runner.register_custom_hooks([{"type": "SuiteToy", "priority": name, "info": name} for name in shuffled])
    assert [hook.info for hook in runner.hooks] == names
    runner = bare_runner(tmp_path)
    runner.register_custom_hooks([{"type": "SuiteToy", "priority": n, "info": n} for n in (51, 49)])
    runner.register_custom_hooks(toy_hook(info="default"))
    assert [hook.info for hook in runner.hooks] == [49, "default", 51]


def test_any_hook_may_stand_for_a_training_hook(mmcv, toy_hook, tmp_path):
    """Custom hooks come behind the training hooks of their priority."""
    runner = bare_runner(tmp_path)
    custom = [
        {"type": "SuiteToy", "priority": 1, "info": "custom 1"},
        {"type": "SuiteToy", "priority": "VERY_HIGH", "info": "custom lr"},
        {"type": "SuiteToy", "priority": "HIGH", "info": "custom momentum"},
        {"type": "SuiteToy", "priority": "NORMAL", "info": "custom checkpoint"},
        {"type": "SuiteToy", "priority": 89, "info": "custom 89"},
        {"type": "SuiteToy", "priority": 100, "info": "custom 100"},
    ]
    runner.register_training_hooks(
        lr_config=toy_hook("lr"),
        optimizer_config=toy_hook("optimizer"),
        checkpoint_config=toy_hook("checkpoint"),
        log_config={"interval": 1, "hooks": [{"type": "SuiteToy", "info": "log"}]},
        momentum_config=toy_hook("momentum"),
        timer_config=toy_hook("timer"),
        custom_hooks_config=custom,
    )
    assert [hook.info for hook in runner.hooks] == [
        "custom 1",
        "lr",
        "custom lr",
        "momentum",
        "custom momentum",
        "optimizer",
        "checkpoint",
        "custom checkpoint",
        "timer",
        "custom 89",
        "log",
        "custom 100",
    ]


def test_a_run_needs_lists_and_lengths(mmcv, tmp_path):
    runner = bare_runner(tmp_path, max_epochs=None)
    with pytest.raises(AssertionError):
        runner.run([ones()], [("train", 1)])  # it has no max_epochs
    runner = bare_runner(tmp_path)
    with pytest.raises(AssertionError):
        runner.run(ones(), [("train", 1)])
    with pytest.raises(AssertionError):
        runner.run([ones()], [("train", 1), ("val", 1)])
    with pytest.raises(ValueError, match="epoch"):
        runner.run([ones()], [("nothing", 1)])
    with pytest.raises(TypeError):
        runner.run([ones()], [(1, 1)])


def test_max_epochs_of_run_are_deprecated(mmcv, tmp_path):
    runner = bare_runner(tmp_path, max_epochs=None)
    with pytest.warns(DeprecationWarning, match="max_epochs"):
        runner.run([ones()], [("train", 1)], 2)
    assert (runner.epoch, runner.iter, runner.max_iters) == (2, 10, 10)


def test_counters_during_a_run(mmcv, tmp_path):
    seen = []

    class Watch(mmcv.runner.Hook):
        def after_train_iter(self, runner):
            seen.append((runner.mode, runner.epoch, runner.iter, runner.inner_iter, len(runner.data_loader)))

        def after_val_iter(self, runner):
            seen.append((runner.mode, runner.epoch, runner.iter, runner.inner_iter, len(runner.data_loader)))

    runner = bare_runner(tmp_path, max_epochs=2)
    runner.register_hook(Watch())
    runner.run([ones(2), ones(1)], [("train", 1), ("val", 1)])
    assert seen == [
        ("train", 0, 0, 0, 2),
        ("train", 0, 1, 1, 2),
        ("val", 1, 2, 0, 1),
        ("train", 1, 2, 0, 2),
        ("train", 1, 3, 1, 2),
        ("val", 2, 4, 0, 1),
    ]
    assert (runner.epoch, runner.iter, runner.inner_iter) == (2, 4, 0)
    assert runner.outputs["loss"].shape == (1, 1)
    assert not hasattr(runner, "data_batch")  # it is gone with its iteration


def test_an_iter_based_run(mmcv, tmp_path):
    seen = []

    class Watch(mmcv.runner.Hook):
        def before_epoch(self, runner):
            seen.append(("epoch", runner.mode, runner.epoch))

        def after_iter(self, runner):
            seen.append((runner.mode, runner.epoch, runner.iter, runner.inner_iter))

        def after_epoch(self, runner):
            seen.append(("end", runner.mode, runner.iter))

    runner = bare_runner(tmp_path, "IterBasedRunner", max_epochs=None, max_iters=3)
    runner.register_hook(Watch())
    runner.run([ones(2), ones(1)], [("train", 2), ("val", 1)])
    assert seen == [
        ("epoch", None, 0),
        ("train", 0, 0, 0),
        ("train", 0, 1, 1),
        ("val", 0, 2, 0),
        ("train", 0, 2, 0),  # the loader began anew in this iteration: its number is known with the next one
        ("val", 0, 3, 0),
        ("end", "val", 3),
    ]


@pytest.mark.parametrize("several", [False, True])
def test_current_lr_and_momentum(mmcv, tmp_path, several):
    runner = bare_runner(tmp_path, several=several)
    if several:
        assert runner.current_lr() == {"first": [0.02], "second": [0.01]}
        assert runner.current_momentum() == {"first": [0.95], "second": [0.9]}
    else:
        assert runner.current_lr() == [0.02]
        assert runner.current_momentum() == [0.95]
    runner.optimizer = torch.optim.AdamW(runner.model.parameters(), betas=(0.8, 0.9))
    assert runner.current_momentum() == [0.8]
    runner.optimizer = torch.optim.Adagrad(runner.model.parameters(), lr=0.5)
    assert runner.current_lr() == [0.5]
    assert runner.current_momentum() == [0]
    runner.optimizer = None
    for read in (runner.current_lr, runner.current_momentum):
        with pytest.raises(RuntimeError):
            read()


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_resume(mmcv, is_peer, tmp_path, kind, several):
    length = {"max_epochs": 2} if kind == "EpochBasedRunner" else {"max_epochs": None, "max_iters": 10}
    first = demo_runner(tmp_path, kind, several=several, **length)
    first.meta = {"seed": 3}
    first.run([ones()], [("train", 1)])
    name = "epoch_1.pth" if kind == "EpochBasedRunner" else "iter_5.pth"
    if kind == "IterBasedRunner":
        first.save_checkpoint(str(tmp_path), filename_tmpl="iter_5.pth")
    second = bare_runner(tmp_path / "second", kind, several=several, **length)
    second.resume(str(tmp_path / name), map_location="cpu")
    if kind == "EpochBasedRunner":
        assert second.epoch == 1
    else:  # MMCV takes one too many from its file, until the next iteration
        assert second.epoch == first.epoch + is_peer
    assert second.iter == (5 if kind == "EpochBasedRunner" else 10)
    assert kind == "IterBasedRunner" or second.meta["seed"] == 3
    second.run([ones()], [("train", 1)])
    assert second.iter == 10


def test_keys_are_revised_when_a_checkpoint_is_loaded(mmcv, tmp_path):
    class Named(TwoParts):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = Named()

        def train_step(self, data, optimizer):
            """Never called."""

    inner, outer = Named(), Wrapped()
    torch.save(inner.state_dict(), tmp_path / "inner.pth")
    runner = bare_runner(tmp_path, model=None)
    runner.model = outer
    loaded = runner.load_checkpoint(str(tmp_path / "inner.pth"), revise_keys=[(r"^", "backbone.")])
    for key, value in outer.backbone.state_dict().items():
        assert torch.equal(value, inner.state_dict()[key])
        assert torch.equal(value, loaded[key])
    torch.save({"state_dict": Wrapped().state_dict()}, tmp_path / "outer.pth")
    runner.model = inner
    loaded = runner.load_checkpoint(str(tmp_path / "outer.pth"), revise_keys=[(r"^backbone\.", "")])
    for key, value in inner.state_dict().items():
        assert torch.equal(value, loaded["state_dict"][f"backbone.{key}"])


def test_set_random_seed(mmcv, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "before")
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)

    def drawn():
        return random.randint(0, 1000), np.random.rand(2, 2).tolist(), torch.rand(2, 2).tolist()

    mmcv.runner.set_random_seed(0)
    first = drawn()
    assert not torch.backends.cudnn.deterministic
    assert os.environ["PYTHONHASHSEED"] == "0"
    mmcv.runner.set_random_seed(0, True)
    assert drawn() == first
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    mmcv.runner.set_random_seed(0, deterministic=True, use_rank_shift=True)
    assert drawn() == first


def test_small_helpers(mmcv):
    assert re.fullmatch(r"\d{8}_\d{6}", mmcv.runner.get_time_str())
    assert "@" in mmcv.runner.get_host_info()
    built = mmcv.runner.obj_from_dict({"type": "Linear", "in_features": 2}, nn, {"out_features": 3})
    assert (built.in_features, built.out_features) == (2, 3)
    assert mmcv.runner.get_priority("very_low") == 90
    assert mmcv.runner.get_priority(mmcv.runner.Priority.HIGHEST) == 0
    assert mmcv.runner.get_priority(42) == 42
    with pytest.raises(ValueError, match="priority"):
        mmcv.runner.get_priority(101)
    with pytest.raises(TypeError):
        mmcv.runner.get_priority(1.5)
