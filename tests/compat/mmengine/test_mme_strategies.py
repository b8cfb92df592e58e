"""MMEngine's strategies without a runner, and what FSDPStrategy is told of its checkpoints."""

import pytest
import torch
from mme_runner_toys import registered

pytestmark = pytest.mark.usefixtures("mmengine")
STEPS = {"type": "MultiStepLR", "milestones": [1, 2]}


@pytest.fixture
def toys():
    with registered() as found:
        yield found


def single(tmp_path, name):
    from mmengine._strategy import SingleDeviceStrategy

    return SingleDeviceStrategy(work_dir=str(tmp_path), experiment_name=name)


def test_what_one_knows(tmp_path):
    strategy = single(tmp_path, "facts")
    assert (strategy.work_dir, strategy.launcher) == (str(tmp_path), "none")
    assert strategy.log_dir == str(tmp_path / strategy.timestamp)
    assert strategy.experiment_name == f"facts_{strategy.timestamp}"
    assert (strategy.distributed, strategy.rank, strategy.world_size) == (False, 0, 1)
    assert isinstance(strategy.seed, int)
    assert strategy.randomness == {"seed": None}
    environment, runtime = strategy.collect_env()
    assert "PyTorch" in environment
    assert (runtime["Distributed launcher"], runtime["GPU number"]) == ("none", 1)


def test_a_model_alone(tmp_path, toys):
    strategy = single(tmp_path, "alone")
    model = strategy.prepare({"type": "Line"})
    assert type(model) is toys["Line"]
    assert strategy.model is model
    assert strategy.prepare({"type": "Line"}) is model


def test_model_optimizer_and_schedule(tmp_path, toys):
    from mmengine.optim import MultiStepLR, OptimWrapper

    strategy, model = single(tmp_path, "all"), toys["Line"]()
    length = {"max_epochs": 3, "max_iters": 9, "epoch_length": 3}
    found = strategy.prepare(
        model, optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}}, param_scheduler=STEPS, dispatch_kwargs=length
    )
    assert len(found) == 3
    assert found[0] is model
    assert (type(found[1]), type(found[2][0])) == (OptimWrapper, MultiStepLR)
    assert strategy.model_state_dict().keys() == model.state_dict().keys()
    assert strategy.optim_state_dict()["param_groups"][0]["lr"] == 0.1
    assert strategy.scheduler_state_dict()[0]["end"] == 3


def test_a_checkpoint_of_one(tmp_path, toys, is_peer, monkeypatch):
    if is_peer:
        read = torch.load
        monkeypatch.setattr(torch, "load", lambda *args, **settings: read(*args, **{**settings, "weights_only": False}))
    settings = {"optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}}, "param_scheduler": STEPS}
    length = {"max_epochs": 3, "max_iters": 9, "epoch_length": 3}
    strategy = single(tmp_path, "saves")
    model, wrapper, _ = strategy.prepare({"type": "Line"}, **settings, dispatch_kwargs=dict(length))
    wrapper.param_groups[0]["lr"] = 0.025
    strategy.save_checkpoint(str(tmp_path / "one.pth"), extra_ckpt={"meta": {"epoch": 1, "iter": 3}})
    wanted = {name: value.clone() for name, value in model.state_dict().items()}
    other = single(tmp_path, "reads")
    model, wrapper, _ = other.prepare({"type": "Line"}, **settings, dispatch_kwargs=dict(length))
    other.load_checkpoint(str(tmp_path / "one.pth"))
    assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())
    assert wrapper.param_groups[0]["lr"] == 0.1
    other.resume(str(tmp_path / "one.pth"))
    assert wrapper.param_groups[0]["lr"] == 0.025


def test_what_cannot_be_built(tmp_path, toys):
    strategy = single(tmp_path, "wrong")
    _, wrapper = strategy.prepare({"type": "Line"}, optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}})
    with pytest.raises(TypeError, match="model should be"):
        strategy.build_model("x")
    with pytest.raises(TypeError, match="optimizer wrapper should be"):
        strategy.build_optim_wrapper("x")
    with pytest.raises(TypeError):
        strategy.build_param_scheduler("x", wrapper)


@pytest.mark.parametrize(
    ("setting", "error"),
    [
        ({"state_dict_cfg": "whole"}, ValueError),
        ({"state_dict_cfg": ["full"]}, TypeError),
        ({"state_dict_cfg": {"state_dict_type": 3}}, TypeError),
        ({"skip_init_weights": "no"}, TypeError),
    ],
)
def test_settings_of_fsdp_that_are_none(tmp_path, setting, error):
    from mmengine._strategy import FSDPStrategy

    with pytest.raises(error):
        FSDPStrategy(work_dir=str(tmp_path), **setting)


def test_tensors_without_memory():
    from mmengine._strategy.utils import MetaTensorContext

    with MetaTensorContext():
        made = torch.ones(2, 3)
        layer = torch.nn.Linear(3, 4)
    assert (made.device.type, made.shape) == ("meta", (2, 3))
    assert layer.weight.device.type == "meta"
