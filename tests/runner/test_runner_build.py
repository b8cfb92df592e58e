"""What a Runner is made of: configs, built objects, lazy parts, hooks, facts."""

import copy
import os
import re
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from trainwright.base.errors import ConfigError, ConfigTypeError, HookError
from trainwright.base.logs import MMLogger
from trainwright.checkpoint import read_checkpoint
from trainwright.config import Config
from trainwright.data import DefaultSampler
from trainwright.engine import EpochBasedTrainLoop, Hook, IterBasedTrainLoop, TestLoop, ValLoop, get_priority
from trainwright.evaluation import Accuracy, BaseMetric, Evaluator
from trainwright.hooks import CheckpointHook, IterTimerHook, LoggerHook
from trainwright.optim import OptimWrapper
from trainwright.optim.schedulers import ConstantLR
from trainwright.registry import DATASETS, HOOKS
from trainwright.runner import LogProcessor, Runner
from trainwright.state import MessageHub
from trainwright.strategies import SingleDeviceStrategy
from trainwright.testing.toys import ToyDataset, ToyModel, toy_config, toy_loader
from trainwright.visualization import LocalVisBackend, Visualizer

TEST_PART = {"test_dataloader": toy_loader(8, shuffle=False), "test_cfg": {}, "test_evaluator": {"type": "Accuracy"}}


class CountingSet(ToyDataset):
    """Counts how many were made."""

    made = 0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        type(self).made += 1


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.setattr(CountingSet, "made", 0)
    monkeypatch.setitem(DATASETS.module_dict, "CountingSet", CountingSet)
    loader = toy_loader(8, shuffle=False)
    loader["dataset"]["type"] = "CountingSet"
    return loader


def test_from_a_config_train_val_and_test(tmp_path):
    runner = Runner.from_cfg(toy_config(tmp_path, **TEST_PART))
    model = runner.train()
    assert model is runner.model
    assert isinstance(model, ToyModel)
    assert runner.val().keys() == runner.test().keys() == {"accuracy/top1"}
    assert 0 <= runner.test()["accuracy/top1"] <= 100


def test_from_built_objects(tmp_path):
    model = ToyModel()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = OptimWrapper(optimizer)
    scheduler = ConstantLR(wrapper, factor=0.5, end=2)
    train_data, val_data = ToyDataset(16), ToyDataset(8)
    loader = DataLoader(train_data, batch_size=4, sampler=DefaultSampler(train_data, seed=0))
    val_loader = DataLoader(val_data, batch_size=4)
    hook, strategy = CheckpointHook(interval=2), SingleDeviceStrategy(work_dir=tmp_path, log_kwargs={"log_level": 30})
    visualizer = Visualizer("mine", vis_backends=LocalVisBackend(str(tmp_path / "vis")))
    processor, evaluator = LogProcessor(window_size=3), Evaluator(Accuracy())
    runner = Runner(
        model,
        str(tmp_path),
        train_dataloader=loader,
        val_dataloader=val_loader,
        train_cfg={"by_epoch": True, "max_epochs": 2},
        val_cfg={},
        optim_wrapper=wrapper,
        param_scheduler=[scheduler],
        val_evaluator=evaluator,
        default_hooks={"checkpoint": hook},
        visualizer=visualizer,
        log_processor=processor,
        strategy=strategy,
    )
    assert runner.train() is model
    assert runner.train_dataloader is loader
    assert runner.val_dataloader is val_loader
    assert runner.optim_wrapper is wrapper
    assert runner.param_schedulers == [scheduler]
    assert runner.val_evaluator is evaluator
    assert runner.visualizer is visualizer
    assert runner.log_processor is processor
    assert runner.strategy is strategy
    assert hook in runner.hooks
    assert [p.name for p in tmp_path.glob("*.pth")] == ["epoch_2.pth"]


def test_only_what_is_used_is_built(tmp_path, counting):
    cfg = toy_config(tmp_path, train_dataloader=counting, val_dataloader=copy.deepcopy(counting), **TEST_PART)
    cfg["test_dataloader"] = copy.deepcopy(counting)
    runner = Runner.from_cfg(cfg)
    assert isinstance(runner.model, ToyModel)
    assert CountingSet.made == 0
    assert isinstance(runner.optim_wrapper, dict)
    runner.test()
    assert CountingSet.made == 1
    assert isinstance(runner.test_dataloader, DataLoader)
    assert isinstance(runner.test_evaluator, Evaluator)
    assert isinstance(runner.optim_wrapper, dict)
    runner.train()
    assert isinstance(runner.optim_wrapper, OptimWrapper)
    assert CountingSet.made == 3
    assert isinstance(runner.train_loop, EpochBasedTrainLoop)
    assert isinstance(runner.val_loop, ValLoop)
    assert isinstance(runner.test_loop, TestLoop)


def test_saving_a_model_that_was_not_trained_here_builds_no_training_set(tmp_path, counting):
    runner = Runner.from_cfg(toy_config(tmp_path, train_dataloader=counting))
    runner.val()
    meta = read_checkpoint(runner.save_checkpoint(str(tmp_path), "net.pth"))["meta"]
    assert CountingSet.made == 0
    assert (meta["dataset_meta"], meta["global_batch"], meta["fingerprint"]["dataset"]) == ({}, None, {})
    resumed = Runner.from_cfg(toy_config(tmp_path / "on", load_from=str(tmp_path / "net.pth")))
    resumed.train()
    assert resumed.iter == 8


def test_what_is_asked_for_is_built(tmp_path, counting):
    """A script may add a metric before it tests."""
    cfg = toy_config(tmp_path, train_dataloader=counting, val_dataloader=copy.deepcopy(counting), **TEST_PART)
    runner = Runner.from_cfg(cfg)
    runner.test_evaluator.metrics.append(SizeMetric())
    assert CountingSet.made == 0
    assert isinstance(runner.val_evaluator, Evaluator)
    assert isinstance(runner.val_dataloader, DataLoader)
    assert CountingSet.made == 1
    assert runner.train_dataloader is runner.train_loop.dataloader
    assert CountingSet.made == 2
    assert runner.test()["size"] > 0


class SizeMetric(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        return {"size": len(results)}


def test_training_without_validation(tmp_path):
    cfg = toy_config(tmp_path, val_dataloader=None, val_cfg=None, val_evaluator=None)
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.val_loop is None
    with pytest.raises(ConfigError, match=r"val\(\) needs val_dataloader, val_cfg and val_evaluator"):
        runner.val()
    with pytest.raises(ConfigError, match=r"test\(\) needs test_dataloader"):
        runner.test()
    with pytest.raises(ConfigError, match=r"train\(\) needs train_dataloader"):
        Runner(ToyModel(), str(tmp_path), log_level="WARNING").train()


def test_the_config_given_is_not_changed(tmp_path):
    cfg = Config(toy_config(tmp_path, data_preprocessor={"type": "BaseDataPreprocessor"}, **TEST_PART))
    before = copy.deepcopy(cfg.to_dict())
    runner = Runner.from_cfg(cfg)
    runner.train()
    runner.test()
    assert cfg.to_dict() == before
    assert runner.cfg is not cfg
    assert runner.cfg.to_dict() == before


def test_the_data_preprocessor_goes_into_a_model_config_without_one(tmp_path):
    cfg = toy_config(tmp_path, data_preprocessor={"type": "BaseDataPreprocessor", "non_blocking": True})
    assert Runner.from_cfg(cfg).model.data_preprocessor._non_blocking
    cfg["model"] = {"type": "ToyModel", "data_preprocessor": {"type": "BaseDataPreprocessor"}}
    assert not Runner.from_cfg(cfg).model.data_preprocessor._non_blocking


def test_facts_by_epoch(tmp_path):
    cfg = toy_config(tmp_path, experiment_name="exp", train_cfg={"by_epoch": True, "max_epochs": 3, "val_interval": 2})
    runner = Runner.from_cfg(cfg)
    assert (runner.epoch, runner.iter, runner.max_epochs, runner.max_iters) == (0, 0, None, None)
    assert re.fullmatch(r"\d{8}_\d{6}(_\d+)?", runner.timestamp)
    assert runner.experiment_name == f"exp_{runner.timestamp}"
    assert runner.model_name == "ToyModel"
    assert runner.work_dir == str(tmp_path)
    assert runner.log_dir == str(tmp_path / runner.timestamp)
    assert (runner.launcher, runner.distributed, runner.rank, runner.world_size) == ("none", False, 0, 1)
    assert (runner.seed, runner.deterministic) == (1, False)
    runner.train()
    assert (runner.epoch, runner.iter, runner.max_epochs, runner.max_iters) == (3, 12, 3, 12)
    assert (runner.val_interval, runner.val_begin) == (2, 1)
    assert runner.by_epoch
    assert not runner.is_training


def test_facts_by_iteration(tmp_path):
    cfg = toy_config(tmp_path, train_cfg={"by_epoch": False, "max_iters": 6, "val_interval": 4, "val_begin": 2})
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert isinstance(runner.train_loop, IterBasedTrainLoop)
    assert (runner.epoch, runner.iter, runner.max_epochs, runner.max_iters) == (1, 6, 1, 6)
    assert (runner.val_interval, runner.val_begin) == (4, 2)
    assert not runner.by_epoch
    assert runner.experiment_name == runner.timestamp


def test_the_config_file_names_the_run(tmp_path):
    file = tmp_path / "resnet.small.py"
    file.touch()
    cfg = Config(toy_config(tmp_path), filename=file)
    runner = Runner.from_cfg(cfg)
    assert runner.experiment_name == f"resnet.small_{runner.timestamp}"
    cfg["experiment_name"] = "exp"
    assert Runner.from_cfg(cfg).experiment_name.startswith("exp_")


def test_runs_of_the_same_second_share_nothing(tmp_path):
    visualizer = {"type": "Visualizer", "name": "vis", "vis_backends": [{"type": "LocalVisBackend"}]}
    cfg = toy_config(tmp_path, log_level="INFO", visualizer=visualizer)
    runners = [Runner.from_cfg(cfg) for _ in range(3)]
    others = [Runner.from_cfg({**cfg, "work_dir": str(tmp_path / name)}) for name in ("a", "b")]
    every = [*runners, *others]
    assert len({runner.log_dir for runner in every}) == 5
    assert len({runner.experiment_name for runner in every}) == 5
    assert len({id(runner.logger) for runner in every}) == 5
    assert len({id(runner.visualizer) for runner in every}) == 5
    runners[0].train()
    assert (Path(runners[0].log_dir) / "vis_data" / "scalars.json").is_file()
    assert not (Path(runners[1].log_dir) / "vis_data" / "scalars.json").exists()
    texts = [(Path(runner.log_dir) / f"{runner.timestamp}.log").read_text() for runner in every]
    assert ["Epoch(train)" in text for text in texts] == [True, False, False, False, False]


def test_log_file_is_closed_after_the_run_and_goes_on_with_the_next(tmp_path):
    def n_open():
        return sum(str(tmp_path) in os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if
                   os.path.islink(f"/proc/self/fd/{fd}"))  # fmt: skip

    runner = Runner.from_cfg(toy_config(tmp_path, log_level="INFO", **TEST_PART))
    assert n_open() == 0
    runner.train()
    assert n_open() == 0
    log = Path(runner.log_dir) / f"{runner.timestamp}.log"
    n_lines = len(log.read_text().splitlines())
    runner.test()
    assert n_open() == 0
    lines = log.read_text().splitlines()
    assert len(lines) > n_lines
    assert "Epoch(test) [2/2]    accuracy/top1" in lines[-1]


def test_a_run_is_current_while_it_runs(tmp_path):
    seen = {}

    class Looking(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen.update(
                hub=MessageHub.get_current_instance(),
                logger=MMLogger.get_current_instance(),
                visualizer=Visualizer.get_current_instance(),
            )

    runner = Runner.from_cfg(toy_config(tmp_path, custom_hooks=[Looking()]))
    Runner.from_cfg(toy_config(tmp_path))
    runner.train()
    assert seen == {"hub": runner.message_hub, "logger": runner.logger, "visualizer": runner.visualizer}


DEFAULT = [
    ("RuntimeInfoHook", 10),
    ("IterTimerHook", 50),
    ("DistSamplerSeedHook", 50),
    ("LoggerHook", 60),
    ("ParamSchedulerHook", 70),
    ("CheckpointHook", 90),
]


def named(runner):
    return [(type(hook).__name__, get_priority(hook.priority)) for hook in runner.hooks]


def test_default_hooks_and_priorities(tmp_path):
    runner = Runner.from_cfg(toy_config(tmp_path))
    assert named(runner) == DEFAULT
    assert runner.hooks[-1].interval == 1


def test_default_hooks_can_be_changed_and_popped(tmp_path):
    hooks = {"timer": None, "logger": {"type": "LoggerHook", "interval": 3}, "extra": {"type": "IterTimerHook"}}
    runner = Runner.from_cfg(toy_config(tmp_path, default_hooks=hooks))
    assert named(runner) == [*DEFAULT[:1], DEFAULT[2], DEFAULT[1], *DEFAULT[3:]]  # the extra one arrives later
    assert next(hook for hook in runner.hooks if isinstance(hook, LoggerHook)).interval == 3
    everything_off = dict.fromkeys(["runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint"])
    runner = Runner.from_cfg(toy_config(tmp_path, default_hooks=everything_off))
    assert runner.hooks == []
    assert runner.get_hooks_info() == ""
    runner.train()
    assert runner.iter == 8


def test_popping_a_default_hook_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match=r"default_hooks has timr=None.*Did you mean 'timer'\?"):
        Runner.from_cfg(toy_config(tmp_path, default_hooks={"timr": None}))
    assert list(tmp_path.iterdir()) == []


class Custom(Hook):
    """A hook without a priority of its own."""

    def after_train_epoch(self, runner):
        """Take part."""


def test_priority_of_a_hook(tmp_path, monkeypatch):
    monkeypatch.setitem(HOOKS.module_dict, "Custom", Custom)
    runner = Runner.from_cfg(toy_config(tmp_path, default_hooks=dict.fromkeys(["timer", "logger", "sampler_seed"])))

    def place_of(hook, **kwargs):
        before = list(runner.hooks)
        runner.register_hook(hook, **kwargs)
        (new,) = [hook for hook in runner.hooks if hook not in before]
        return get_priority(new.priority)

    assert place_of({"type": "Custom", "priority": "LOW"}, priority="HIGH") == 30  # the argument
    assert place_of({"type": "Custom", "priority": "LOW"}) == 70  # then the dict's
    assert place_of({"type": "IterTimerHook"}) == 50  # then the hook's own
    assert place_of(LoggerHook()) == 60
    assert place_of(Custom(), priority=99) == 99
    numbers = [get_priority(hook.priority) for hook in runner.hooks]
    assert numbers == sorted(numbers)
    with pytest.raises(HookError, match=r"priority 'HIH' is unknown.*Did you mean 'HIGH'"):
        runner.register_hook(Custom(), priority="HIH")
    with pytest.raises(TypeError, match="should be an instance of Hook"):
        runner.register_hook(object())


def test_equal_priorities_keep_the_order_of_arrival(tmp_path):
    hooks = [Custom(), IterTimerHook(), Custom()]
    runner = Runner.from_cfg(toy_config(tmp_path, custom_hooks=hooks))
    normal = [hook for hook in runner.hooks if get_priority(hook.priority) == 50]
    assert normal[-3:] == hooks


def test_hooks_info(tmp_path):
    text = Runner.from_cfg(toy_config(tmp_path, custom_hooks=[Custom()])).get_hooks_info()
    blocks = dict(block.strip().split(":\n", 1) for block in text.split(" -------------------- ") if block.strip())
    assert list(blocks)[:4] == ["before_run", "before_train", "before_train_epoch", "after_train_iter"]
    lines = [line.split() for line in blocks["after_train_epoch"].splitlines()]
    assert [line[-1] for line in lines] == ["IterTimerHook", "Custom", "ParamSchedulerHook", "CheckpointHook"]
    assert "(VERY_LOW    ) CheckpointHook" in blocks["after_train_epoch"]


def test_call_hook_with_an_event_and_with_a_name_of_ones_own(tmp_path):
    calls = []

    class Own(Hook):
        extra_points = ("after_distillation",)

        def after_distillation(self, runner, teacher):
            calls.append(("after_distillation", runner, teacher))

        def before_train_epoch(self, runner):
            calls.append(("before_train_epoch", runner, None))

    runner = Runner.from_cfg(toy_config(tmp_path, custom_hooks=[Own()]))
    runner.call_hook("after_distillation", teacher="t")
    assert calls == [("after_distillation", runner, "t")]
    _ = runner.train_loop
    runner.call_hook("before_train_epoch")
    assert calls[-1] == ("before_train_epoch", runner, None)
    runner.call_hook("nobody_has_this")


def test_a_misspelt_hook_point_is_refused(tmp_path):
    class Wrong(Hook):
        def after_train_itr(self, runner):
            """Never called."""

    with pytest.raises(HookError, match=r"Wrong.after_train_itr looks like a hook point.*'after_train_iter'"):
        Runner.from_cfg(toy_config(tmp_path, custom_hooks=[Wrong()]))


def test_scale_lr(tmp_path):
    cfg = toy_config(tmp_path, auto_scale_lr={"base_batch_size": 16, "enable": True}, log_level="INFO")
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.optim_wrapper.get_lr() == {"lr": [0.1 * 4 / 16]}
    text = (Path(runner.log_dir) / f"{runner.timestamp}.log").read_text()
    assert "lr is for batches of 16 samples, they have 4 here: it is multiplied by 0.25" in text
    runner = Runner.from_cfg(toy_config(tmp_path, auto_scale_lr={"base_batch_size": 16}))
    runner.train()
    assert runner.optim_wrapper.get_lr() == {"lr": [0.1]}


def test_scale_lr_by_hand(tmp_path):
    runner = Runner.from_cfg(toy_config(tmp_path))
    _ = runner.train_loop
    wrapper = runner.build_optim_wrapper({"optimizer": {"type": "SGD", "lr": 0.2}})
    runner.scale_lr(wrapper, {"base_batch_size": 2, "enable": True})
    assert wrapper.get_lr() == {"lr": [0.4]}


def test_builders(tmp_path):
    runner = Runner.from_cfg(toy_config(tmp_path, **TEST_PART))
    assert isinstance(runner.build_model({"type": "ToyModel"}), ToyModel)
    assert isinstance(runner.build_dataloader(toy_loader(), seed=0), DataLoader)
    assert isinstance(runner.build_train_loop({"by_epoch": False, "max_iters": 3}), IterBasedTrainLoop)
    assert isinstance(runner.build_train_loop({"type": "EpochBasedTrainLoop", "max_epochs": 3}), EpochBasedTrainLoop)
    assert isinstance(runner.build_val_loop({}), ValLoop)
    assert isinstance(runner.build_test_loop({"type": "TestLoop"}), TestLoop)
    for evaluator in ({"type": "Accuracy"}, [{"type": "Accuracy"}], {"metrics": [Accuracy()]}, [Accuracy()]):
        assert isinstance(runner.build_evaluator(evaluator), Evaluator)
    runner.optim_wrapper = runner.build_optim_wrapper({"optimizer": {"type": "SGD", "lr": 0.2}})
    (scheduler,) = runner.build_param_scheduler({"type": "ConstantLR", "factor": 0.5})
    assert isinstance(scheduler, ConstantLR)
    assert isinstance(runner.build_log_processor({}), LogProcessor)
    assert runner.build_message_hub() is runner.message_hub
    assert runner.wrap_model(None, runner.model) is runner.model
    with pytest.raises(ConfigTypeError, match="evaluator should be one of Evaluator, a dict or a list"):
        runner.build_evaluator(3)
    with pytest.raises(ConfigError, match="has both, type='EpochBasedTrainLoop' and by_epoch=True"):
        runner.build_train_loop({"type": "EpochBasedTrainLoop", "by_epoch": True, "max_epochs": 1})


def test_dump_config(tmp_path):
    (tmp_path / "my.yaml").write_text("work_dir: x\nanswer: 42\n")
    cfg = Config.fromfile(tmp_path / "my.yaml")
    runner = Runner(ToyModel(), str(tmp_path / "run"), cfg=cfg, log_level="WARNING")
    assert Config.fromfile(tmp_path / "run" / "my.py").answer == 42
    assert Config.fromfile(Path(runner.log_dir) / "vis_data" / "config.py").answer == 42
    runner = Runner(ToyModel(), str(tmp_path / "other"), cfg={"answer": 1}, log_level="WARNING")
    assert (tmp_path / "other" / f"{runner.timestamp}.py").is_file()


def test_set_randomness_and_setup_env(tmp_path):
    runner = Runner.from_cfg(toy_config(tmp_path))
    runner.set_randomness(5)
    assert runner.seed == 5
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), expected)
    runner.setup_env({"resource_limit": 64})


def test_load_checkpoint_renames_and_reports(tmp_path):
    source = Runner.from_cfg(toy_config(tmp_path / "a"))
    source.train()
    target = Runner.from_cfg(toy_config(tmp_path / "b", randomness={"seed": 2}))
    path = str(tmp_path / "a" / "epoch_2.pth")
    checkpoint = target.load_checkpoint(path)
    assert checkpoint["meta"]["iter"] == 8
    assert torch.equal(target.model.first.weight, source.model.first.weight)
    assert target.iter == 0
    with pytest.raises(RuntimeError, match="no weight of the checkpoint fits ToyModel"):
        target.load_checkpoint(path, revise_keys=[("^", "net.")])
    with pytest.raises(RuntimeError, match=r"strict loading into ToyModel failed:\n  missing in the checkpoint"):
        target.load_checkpoint(path, strict=True, revise_keys=[("^first", "net")])


def test_save_checkpoint(tmp_path):
    runner = Runner.from_cfg(toy_config(tmp_path))
    runner.train()
    path = runner.save_checkpoint(str(tmp_path / "out"), "x.pth", save_optimizer=False, meta={"note": "mine"})
    assert path == str(tmp_path / "out" / "x.pth")
    tree = torch.load(path, weights_only=True)
    assert "optimizer" not in tree
    assert tree["meta"]["note"] == "mine"
    assert (tree["meta"]["epoch"], tree["meta"]["iter"]) == (2, 8)
    assert tree["meta"]["dataset_meta"] == {"classes": ("a", "b", "c")}


def test_load_from_and_a_path_object(tmp_path):
    source = Runner.from_cfg(toy_config(tmp_path / "a"))
    source.train()
    path = tmp_path / "a" / "epoch_2.pth"
    runner = Runner.from_cfg(toy_config(tmp_path / "b", load_from=path, randomness={"seed": 2}))
    assert runner.val() == source.val()
    again = Runner.from_cfg(toy_config(tmp_path / "c", resume=path, train_cfg={"by_epoch": True, "max_epochs": 3}))
    again.train()
    assert again.iter == 12
    assert len(again.message_hub.get_scalar("train/loss")) == 12


def test_a_model_without_the_steps(tmp_path):
    runner = Runner.from_cfg(toy_config(tmp_path, model=torch.nn.Linear(2, 2)))
    with pytest.raises(
        ConfigError, match=r"Linear has no train_step\(\). If you want to train it, derive the model from"
    ):
        runner.train()
