"""MMEngine's FlexibleRunner with a strategy."""

import os

import pytest
import torch
from mme_runner_toys import PAIR, TRAINING, config, registered
from torch.optim import SGD
from torch.utils.data import DataLoader

pytestmark = pytest.mark.usefixtures("mmengine")
SINGLE = {"strategy": {"type": "SingleDeviceStrategy"}, "env_cfg": {"dist_cfg": {"backend": "nccl"}}}


@pytest.fixture
def toys():
    with registered() as found:
        yield found


@pytest.fixture(autouse=True)
def own_files_are_read(is_peer, monkeypatch):
    """MMEngine reads its own files with a torch.load that is let run code; ours need none of that."""
    if is_peer:
        read = torch.load
        monkeypatch.setattr(torch, "load", lambda *args, **settings: read(*args, **{**settings, "weights_only": False}))


def made(cfg):
    from mmengine.runner import FlexibleRunner

    return FlexibleRunner.from_cfg(cfg)


def test_what_it_has_before_and_after_training(toys, tmp_path):
    from mmengine._strategy import SingleDeviceStrategy
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.optim import MultiStepLR, OptimWrapper

    run = made(config(tmp_path, "facts", **SINGLE))
    assert type(run.strategy) is SingleDeviceStrategy
    assert (type(run.logger), type(run.message_hub)) == (MMLogger, MessageHub)
    assert (run.work_dir, run.log_dir) == (str(tmp_path), run.strategy.log_dir)
    assert (run.experiment_name, run.timestamp) == (run.strategy.experiment_name, run.strategy.timestamp)
    assert (run.distributed, run.rank, run.world_size) == (False, 0, 1)
    assert isinstance(run.seed, int)
    assert len(run.hooks) == 6
    assert isinstance(run.optim_wrapper, dict)
    assert isinstance(run._train_loop, dict)
    run.train()
    assert type(run.model) is toys["Line"]
    assert run.strategy.model is run.model
    assert (run.epoch, run.iter, run.max_epochs, run.max_iters) == (3, 12, 3, 12)
    assert (run.val_begin, run.val_interval) == (1, 1)
    assert type(run.optim_wrapper) is OptimWrapper
    assert type(run.param_schedulers[0]) is MultiStepLR
    assert run.optim_wrapper.param_groups[0]["lr"] == 0.0001
    assert run.val() == run.test() == {"acc": 1}
    assert os.path.exists(tmp_path / "epoch_3.pth")


def test_loading_and_resuming(toys, tmp_path):
    made(config(tmp_path, "first", **SINGLE)).train()
    run = made(config(tmp_path, "finds", **SINGLE, resume=True))
    run.train()
    assert (run.epoch, run.iter) == (3, 12)
    named = {"load_from": str(tmp_path / "epoch_1.pth")}
    run = made(config(tmp_path, "goes_back", **SINGLE, resume=True, **named))
    run.train()
    assert (run.epoch, run.optim_wrapper.param_groups[0]["lr"]) == (3, 0.0001)
    run = made(config(tmp_path, "loads", **SINGLE, **named))
    run.test()
    assert run._has_loaded


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
    from mmengine.runner import FlexibleRunner

    with pytest.raises(ValueError, match=text):
        FlexibleRunner(**config(tmp_path, "parts", without))


def test_what_there_is_nothing_for(toys, tmp_path):
    parts = [*TRAINING, "val_dataloader", "val_cfg", "val_evaluator", "test_dataloader", "test_cfg", "test_evaluator"]
    run = made(config(tmp_path, "nothing", parts, **SINGLE))
    for method in (run.train, run.val, run.test):
        with pytest.raises(RuntimeError, match="should not be None"):
            method()


def test_built_parts(toys, tmp_path):
    from mmengine._strategy import SingleDeviceStrategy
    from mmengine.dataset import pseudo_collate
    from mmengine.optim import MultiStepLR, OptimWrapper
    from mmengine.runner import FlexibleRunner

    model = toys["Line"]()
    wrapper = OptimWrapper(SGD(model.parameters(), lr=0.01))
    data, metric = DataLoader(toys["Rows"](), collate_fn=pseudo_collate), toys["Ones"]()
    run = FlexibleRunner(
        model=model,
        work_dir=str(tmp_path),
        train_cfg={"by_epoch": True, "max_epochs": 2},
        train_dataloader=data,
        optim_wrapper=wrapper,
        param_scheduler=MultiStepLR(wrapper, milestones=[1]),
        test_cfg={},
        test_dataloader=data,
        test_evaluator=[metric],
        strategy=SingleDeviceStrategy(work_dir=str(tmp_path), experiment_name="built"),
        default_hooks={"param_scheduler": toys["Quiet"]()},
        experiment_name="built_too",
    )
    run.train()
    assert run.model is model
    assert run.optim_wrapper is wrapper
    assert (run.iter, run.test()) == (24, {"acc": 1})


def test_several_optimizers(toys, tmp_path, is_peer):
    from mmengine.optim import OptimWrapperDict

    schedule = {"type": "MultiStepLR", "milestones": [1, 2], "end": 3}
    schedules = {"first": schedule, "second": schedule}
    run = made(config(tmp_path, "pair", **PAIR, **SINGLE, param_scheduler=schedule if is_peer else schedules))
    if is_peer:  # of two optimizers it gives the second one no length of the training
        with pytest.raises(ValueError, match="max_epochs must be specified"):
            run.train()
        return
    run.train()
    assert isinstance(run.optim_wrapper, OptimWrapperDict)
    run = made(config(tmp_path, "resumed", **PAIR, **SINGLE, param_scheduler=schedules, resume=True))
    run.train()
    assert (run.iter, list(run.param_schedulers)) == (12, ["first", "second"])


def test_a_compiled_model(toys, tmp_path):
    run = made(config(tmp_path, "compiled", **SINGLE, compile={"backend": "eager"}))
    run.train()
    assert run.iter == 12


def test_what_cannot_be_built(toys, tmp_path):
    run = made(config(tmp_path, "wrong", **SINGLE))
    for build, text in (
        (run.build_message_hub, "message_hub should be"),
        (run.build_visualizer, "visualizer should be"),
        (run.build_evaluator, "evaluator should be"),
        (run.build_train_loop, "should be"),
        (run.build_val_loop, "should be"),
        (run.build_test_loop, "should be"),
        (run.build_log_processor, "should be"),
        (run.register_hook, "hook should be an instance of Hook or dict"),
    ):
        with pytest.raises(TypeError, match=text):
            build("x")
    with pytest.raises(AssertionError):
        run.build_strategy("x")
    assert run.build_message_hub({"name": "another"}).instance_name == "another"
