"""What Runner is made of, and what its methods build."""

import os.path
from functools import partial

import pytest
from mme_runner_toys import TRAINING, collate_padded, config, loader, registered, seed_worker
from torch import nn
from torch.optim import SGD, Adam
from torch.utils.data import DataLoader

pytestmark = [pytest.mark.usefixtures("mmengine"), pytest.mark.filterwarnings("ignore:there is a MMLogger named")]
VALIDATION = ("val_dataloader", "val_cfg", "val_evaluator")
STEPS = {"type": "MultiStepLR", "milestones": [1, 2]}


@pytest.fixture
def toys():
    with registered() as found:
        yield found


@pytest.fixture
def run(toys, tmp_path, request):
    from mmengine.runner import Runner

    return Runner.from_cfg(config(tmp_path, request.node.name))


@pytest.mark.parametrize(
    ("without", "text"),
    [
        (["train_cfg"], "either all None or not None"),
        (["val_cfg"], "either all None or not None"),
        (["test_cfg"], "either all None or not None"),
        (["train_dataloader", "train_cfg", "optim_wrapper"], "should be None"),
    ],
)
def test_parts_that_go_together(toys, tmp_path, without, text):
    from mmengine.runner import Runner

    with pytest.raises(ValueError, match=text):
        Runner(**config(tmp_path, "parts", without))


@pytest.mark.parametrize("without", [[], TRAINING, VALIDATION, ["param_scheduler"]])
def test_parts_that_may_be_left_out(toys, tmp_path, without):
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.runner import Runner
    from mmengine.visualization import Visualizer

    run = Runner(**config(tmp_path, f"without_{len(without)}", without))
    assert (run.distributed, run.deterministic, run.rank, run.world_size) == (False, False, 0, 1)
    assert isinstance(run.logger, MMLogger)
    assert isinstance(run.message_hub, MessageHub)
    assert isinstance(run.visualizer, Visualizer)
    names = {part.instance_name for part in (run.logger, run.message_hub, run.visualizer)}
    assert names == {run.experiment_name}
    assert (run.param_schedulers is None) == ("param_scheduler" in without)


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ([STEPS, {}], AssertionError, "Each parameter scheduler should contain the key type"),
        ({"first": "x", "second": "y"}, AssertionError, "Each value of `param_scheduler` should be"),
        ("x", TypeError, "`param_scheduler` should be a"),
    ],
)
def test_schedulers_that_are_none(toys, tmp_path, given, error, text):
    from mmengine.runner import Runner

    with pytest.raises(error, match=text):
        Runner(**config(tmp_path, "wrong", param_scheduler=given))


def test_parts_are_configs_until_they_are_used(run):
    from mmengine.evaluator import Evaluator
    from mmengine.optim import MultiStepLR, OptimWrapper
    from mmengine.runner import BaseLoop

    assert isinstance(run.optim_wrapper, dict)
    assert isinstance(run.param_schedulers, dict)
    for name in ("train", "val", "test"):
        assert isinstance(getattr(run, f"_{name}_loop"), dict)
        assert isinstance(getattr(run, f"_{name}_dataloader"), dict)
    assert isinstance(run._val_evaluator, dict)
    run.train()
    assert isinstance(run._train_loop, BaseLoop)
    assert isinstance(run._val_loop, BaseLoop)
    assert isinstance(run._test_loop, dict)
    assert isinstance(run.train_dataloader, DataLoader)
    assert isinstance(run.optim_wrapper, OptimWrapper)
    assert isinstance(run.param_schedulers[0], MultiStepLR)
    assert run.test() == {"acc": 1}
    assert isinstance(run._test_loop, BaseLoop)
    assert isinstance(run.test_evaluator, Evaluator)


def test_the_config_is_written(toys, tmp_path):
    from mmengine.config import Config
    from mmengine.runner import Runner

    cfg = config(tmp_path, "written")
    run = Runner.from_cfg(cfg)
    assert os.path.exists(os.path.join(run.work_dir, f"{run.timestamp}.py"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.py").write_text("")
    named = Config(config(tmp_path, "named")._cfg_dict, filename=str(tmp_path / "elsewhere" / "mine.py"))
    assert os.path.exists(os.path.join(Runner.from_cfg(named).work_dir, "mine.py"))


def test_logger_hub_and_visualizer(run):
    from mmengine.visualization import Visualizer

    assert run.build_logger().instance_name == run.experiment_name
    assert run.build_logger(name="another").instance_name == "another"
    assert run.build_message_hub().instance_name == run.experiment_name
    assert run.build_message_hub({"name": "another"}).instance_name == "another"
    visualizer = run.build_visualizer()
    assert visualizer.instance_name == run.experiment_name
    assert run.build_visualizer(visualizer) is visualizer
    assert run.build_visualizer({"type": "Visualizer", "name": "another"}).instance_name == "another"
    assert isinstance(visualizer, Visualizer)
    with pytest.raises(TypeError, match="message_hub should be"):
        run.build_message_hub("x")
    with pytest.raises(TypeError, match="visualizer should be"):
        run.build_visualizer("x")


def test_models(run, toys, tmp_path):
    from mmengine.model import BaseDataPreprocessor, ImgDataPreprocessor
    from mmengine.runner import Runner

    assert isinstance(run.model.data_preprocessor, BaseDataPreprocessor)
    model = toys["Line"]()
    assert run.build_model(model) is model
    assert isinstance(run.build_model({"type": "Line"}), toys["Line"])
    with pytest.raises(TypeError, match="model should be"):
        run.build_model("x")
    other = Runner.from_cfg(config(tmp_path, "images", data_preprocessor={"type": "ImgDataPreprocessor"}))
    assert isinstance(other.model.data_preprocessor, ImgDataPreprocessor)


def test_optim_wrappers(run, toys):
    from mmengine.optim import OptimWrapper, OptimWrapperDict

    built = OptimWrapper(SGD(run.model.parameters(), lr=0.01))
    assert run.build_optim_wrapper(built) is built
    one = run.build_optim_wrapper({"optimizer": {"type": "SGD", "lr": 0.01}})
    assert (type(one), type(one.optimizer)) == (OptimWrapper, SGD)
    own = run.build_optim_wrapper({"type": "OwnWrapper", "optimizer": built.optimizer, "accumulative_counts": 2})
    assert (type(own), own.optimizer, own._accumulative_counts) == (toys["OwnWrapper"], built.optimizer, 2)
    two = run.build_optim_wrapper({"a": built, "b": OptimWrapper(Adam(run.model.second.parameters()))})
    assert isinstance(two, OptimWrapperDict)
    assert [type(part.optimizer) for part in (two["a"], two["b"])] == [SGD, Adam]
    parts = {name: {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 1}} for name in ("first", "second")}
    assert list(run.build_optim_wrapper({**parts, "constructor": "PairConstructor"}).keys()) == ["first", "second"]
    with pytest.raises(TypeError, match="optimizer wrapper should be"):
        run.build_optim_wrapper("x")
    with pytest.raises(ValueError, match="each item mush be an optimizer object"):
        run.build_optim_wrapper({"a": {"type": "SGD", "lr": 0.01}})


def test_schedulers(run):
    from mmengine.optim import MultiStepLR, OptimWrapper, StepLR

    step = {"type": "StepLR", "step_size": 1}
    run.optim_wrapper = {"a": {"type": "SGD"}}
    with pytest.raises(AssertionError, match="should be called before"):
        run.build_param_scheduler(STEPS)
    run.optim_wrapper = run.build_optim_wrapper({"optimizer": {"type": "SGD", "lr": 0.01}})
    kinds = [type(one) for one in run.build_param_scheduler([STEPS, step])]
    assert kinds == [MultiStepLR, StepLR]
    (one,) = run.build_param_scheduler(STEPS)
    assert run.build_param_scheduler(one) == [one]
    wrappers = {name: OptimWrapper(SGD(nn.Linear(1, 1).parameters(), lr=0.01)) for name in ("a", "b")}
    run.optim_wrapper = run.build_optim_wrapper(wrappers)
    for given, counts in ((STEPS, (1, 1)), ([STEPS, step], (2, 2)), ({"a": STEPS, "b": [STEPS, step]}, (1, 2))):
        made = run.build_param_scheduler(given)
        assert (len(made["a"]), len(made["b"])) == counts


def test_begin_and_end_of_schedulers(run):
    run.optim_wrapper = run.build_optim_wrapper({"optimizer": {"type": "SGD", "lr": 0.01}})
    run._train_loop = run.build_train_loop(run.train_loop)

    def span(**settings):
        (made,) = run.build_param_scheduler({**STEPS, **settings})
        return made.by_epoch, made.begin, made.end

    assert span(begin=1, end=7, convert_to_iter_based=True) == (False, 4, 28)
    assert span(begin=1) == (True, 1, 3)
    assert span(begin=1, by_epoch=False) == (False, 1, 12)


def test_evaluators(run, toys):
    from mmengine.evaluator import Evaluator

    built = Evaluator(toys["Ones"]())
    assert run.build_evaluator(built) is built
    metric = {"type": "Ones"}
    for given, kind, count in (
        (metric, Evaluator, 1),
        ([metric, metric], Evaluator, 2),
        ({"metrics": [metric, metric]}, Evaluator, 2),
        ({"type": "OwnEvaluator", "metrics": [metric]}, toys["OwnEvaluator"], 1),
    ):
        made = run.build_evaluator(given)
        assert (type(made), len(made.metrics)) == (kind, count)
    with pytest.raises(TypeError, match="evaluator should be one of"):
        run.build_evaluator("x")


def test_loaders(run, toys):
    from mmengine.dataset import DefaultSampler

    made = run.build_dataloader(loader(shuffle=True), seed=7)
    assert (type(made.sampler), made.sampler.seed, type(made.dataset)) == (DefaultSampler, 7, toys["Rows"])
    assert run.build_dataloader(made) is made
    assert run.build_dataloader(loader(worker_init_fn={"type": "seed_worker"})).worker_init_fn.func is seed_worker
    for name in ("pseudo_collate", "default_collate"):
        assert isinstance(run.build_dataloader(loader(collate_fn={"type": name})).collate_fn, partial)
    padded = run.build_dataloader(loader(collate_fn={"type": "collate_padded", "pad_value": 1})).collate_fn
    assert (padded.func, padded.keywords) == (collate_padded, {"pad_value": 1})
    assert run.build_dataloader(loader(collate_fn=collate_padded)).collate_fn is collate_padded
    assert len(run.build_dataloader(loader(num_batch_per_epoch=2))) == 2


def test_loops_and_log_processors(run, toys):
    from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, LogProcessor, TestLoop, ValLoop

    for build, cfg, kind in (
        (run.build_train_loop, {"type": "EpochBasedTrainLoop", "max_epochs": 3}, EpochBasedTrainLoop),
        (run.build_train_loop, {"by_epoch": True, "max_epochs": 3}, EpochBasedTrainLoop),
        (run.build_train_loop, {"by_epoch": False, "max_iters": 3}, IterBasedTrainLoop),
        (run.build_val_loop, {}, ValLoop),
        (run.build_val_loop, {"type": "ValLoop"}, ValLoop),
        (run.build_test_loop, {}, TestLoop),
        (run.build_log_processor, {}, LogProcessor),
        (run.build_log_processor, {"type": "OwnLogProcessor"}, toys["OwnLogProcessor"]),
    ):
        made = build(cfg)
        assert type(made) is kind
        assert build(made) is made
        with pytest.raises(TypeError, match="should be"):
            build("x")
    with pytest.raises(RuntimeError, match="Only one"):
        run.build_train_loop({"type": "EpochBasedTrainLoop", "by_epoch": True, "max_epochs": 3})


def test_learning_rates_are_scaled(run):
    from mmengine.optim import OptimWrapper, OptimWrapperDict

    def wrapper():
        return OptimWrapper(SGD(run.model.parameters(), lr=0.01))

    def rate(setting=None, given=None):
        given = given or wrapper()
        run.scale_lr(given, setting) if setting else run.scale_lr(given)
        return given.get_lr()

    on = {"base_batch_size": 16, "enable": True}
    assert rate() == rate({**on, "enable": False}) == {"lr": [0.01]}
    assert rate(on)["lr"] == [pytest.approx(0.01 * 3 / 16)]
    assert rate(on, OptimWrapperDict(a=wrapper()))["a.lr"] == [pytest.approx(0.01 * 3 / 16)]
    with pytest.raises(AssertionError):
        rate({"enable": True})


def test_runners_by_name(toys, tmp_path):
    from mmengine.registry import RUNNERS

    cfg = config(tmp_path, "by_name", runner_type="OwnRunner")
    assert type(RUNNERS.build(cfg)) is toys["OwnRunner"]
    cfg.runner_type = "Nobody"
    with pytest.raises(KeyError):
        RUNNERS.build(cfg)
