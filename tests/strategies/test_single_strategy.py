"""A strategy without a Runner."""

import os
import resource
from pathlib import Path

import pytest
import torch

from trainwright.base.errors import CheckpointError, ConfigError, WorkDirError
from trainwright.optim import OptimWrapper, OptimWrapperDict
from trainwright.registry import MODEL_WRAPPERS
from trainwright.strategies import Randomness, SingleDeviceStrategy
from trainwright.testing.toys import ToyDataset, ToyModel, differences

SGD = {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}}


def make(folder, **kwargs):
    return SingleDeviceStrategy(work_dir=folder, log_kwargs={"log_level": "INFO"}, **kwargs)


def log_of(strategy):
    return (Path(strategy.log_dir) / f"{strategy.timestamp}.log").read_text()


def batch():
    data = ToyDataset(8)
    return {"inputs": data.points, "label": torch.tensor(data.labels)}


def steps(strategy, count):
    strategy.model.train()
    return [strategy.train_step(batch())["loss"].item() for _ in range(count)]


def test_prepare_and_train(tmp_path):
    strategy = make(tmp_path, env_kwargs={"randomness": {"seed": 0}})
    schedule = {"type": "CosineAnnealingLR", "T_max": 10, "by_epoch": False}
    model, wrapper, schedulers = strategy.prepare(
        {"type": "ToyModel"},
        optim_wrapper=SGD,
        param_scheduler=schedule,
        dispatch_kwargs={"max_iters": 10, "epoch_length": 5, "max_epochs": 2},
    )
    assert isinstance(model, ToyModel)
    assert isinstance(wrapper, OptimWrapper)
    assert [scheduler.end for scheduler in schedulers] == [10]
    losses = steps(strategy, 5)
    assert losses[-1] < losses[0]
    with torch.no_grad():
        assert strategy.val_step(batch())["scores"].shape == strategy.test_step(batch())["scores"].shape == (8, 3)
    assert strategy.prepare({"type": "ToyModel"})[0] is model
    with strategy.grad_sync(False):
        pass


def test_prepare_of_a_model_alone(tmp_path):
    model = ToyModel()
    assert make(tmp_path).prepare(model) is model


def test_facts(tmp_path):
    strategy = make(tmp_path, experiment_name="x", env_kwargs={"randomness": {"seed": 7, "keyed": False}})
    assert (strategy.launcher, strategy.distributed, strategy.rank, strategy.world_size) == ("none", False, 0, 1)
    assert (strategy.seed, strategy.keyed, strategy.deterministic, strategy.diff_rank_seed) == (7, False, False, False)
    assert strategy.experiment_name == f"x_{strategy.timestamp}"
    assert strategy.log_dir == os.path.join(strategy.work_dir, strategy.timestamp)
    assert strategy.randomness == {"seed": 7, "keyed": False}
    if not torch.cuda.is_available():
        assert strategy.device == torch.device("cpu")


def test_states_and_resume(tmp_path):
    def prepared(folder, seed):
        strategy = make(folder, env_kwargs={"randomness": {"seed": seed}})
        strategy.prepare(
            {"type": "ToyModel"}, optim_wrapper=SGD, param_scheduler={"type": "LinearLR", "by_epoch": False, "end": 9}
        )
        return strategy

    one = prepared(tmp_path / "a", 0)
    steps(one, 3)
    for scheduler in one.param_schedulers:
        scheduler.step()
    path = str(tmp_path / "a" / "x.pth")
    one.save_checkpoint(path, extra_ckpt={"meta": {"iter": 3}}, callback=lambda tree: tree.update(note=1))
    two = prepared(tmp_path / "b", 1)
    assert differences(one.model_state_dict(), two.model_state_dict())
    checkpoint = two.load_or_resume(load_from=path, resume=True)
    assert checkpoint["note"] == 1
    for name in ("model_state_dict", "optim_state_dict", "scheduler_state_dict"):
        assert differences(getattr(one, name)(), getattr(two, name)()) == []
    assert steps(one, 3) == steps(two, 3)

    three = prepared(tmp_path / "c", 1)
    three.load_or_resume(load_from=path)  # weights only
    assert three.optim_state_dict()["state"] == {}
    four = prepared(tmp_path / "a", 1)
    assert four.load_or_resume(resume=True)["meta"]["iter"] == 3  # the latest in work_dir
    assert prepared(tmp_path / "d", 1).load_or_resume(resume=True) is None
    assert prepared(tmp_path / "e", 1).load_or_resume() is None
    with pytest.raises(CheckpointError, match="does not exist"):
        three.load_or_resume(resume=str(tmp_path / "nothing.pth"))


def test_several_optimizers(tmp_path):
    strategy, model = make(tmp_path), ToyModel()
    wrappers = {
        "first": OptimWrapper(torch.optim.SGD(model.first.parameters(), lr=0.1)),
        "second": OptimWrapper(torch.optim.Adam(model.second.parameters(), lr=0.2)),
    }
    schedule = {"first": {"type": "ConstantLR"}, "second": [{"type": "MultiStepLR", "milestones": [1]}]}
    _, wrapper, schedulers = strategy.prepare(model, optim_wrapper=wrappers, param_scheduler=schedule)
    assert isinstance(wrapper, OptimWrapperDict)
    assert {name: [type(s).__name__ for s in items] for name, items in schedulers.items()} == {
        "first": ["ConstantLR"],
        "second": ["MultiStepLR"],
    }
    state = strategy.scheduler_state_dict()
    strategy.load_scheduler_state_dict(state)
    strategy.load_optim_state_dict(strategy.optim_state_dict())
    assert state.keys() == {"first", "second"}


def test_scale_lr(tmp_path):
    known = {"train_micro_batch_size_per_gpu": 64}
    strategy = make(tmp_path, auto_scale_lr={"base_batch_size": 16, "enable": True})
    strategy.prepare(ToyModel(), optim_wrapper=SGD, dispatch_kwargs=known)
    assert strategy.optim_wrapper.get_lr() == {"lr": [0.4]}
    assert "lr is for batches of 16 samples, they have 64 here: it is multiplied by 4" in log_of(strategy)
    off = make(tmp_path, auto_scale_lr={"base_batch_size": 16, "enable": False})
    off.prepare(ToyModel(), optim_wrapper=SGD, dispatch_kwargs=known)
    assert off.optim_wrapper.get_lr() == {"lr": [0.1]}
    with pytest.raises(ConfigError, match="lacks base_batch_size, the batch size that the lr is for"):
        make(tmp_path, auto_scale_lr={"enable": True}).prepare(ToyModel(), optim_wrapper=SGD, dispatch_kwargs=known)
    strategy.attach_schedulers({"type": "ConstantLR"})
    with pytest.raises(ConfigError, match="scale_lr must be called before the schedulers are built"):
        strategy.scale_lr()


def test_optim_wrapper_configs(tmp_path):
    strategy, model = make(tmp_path), ToyModel()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert strategy.build_optim_wrapper({"optimizer": optimizer}).optimizer is optimizer
    with pytest.raises(ConfigError, match="so the model must be given with it"):
        strategy.build_optim_wrapper(SGD)
    with pytest.raises(ConfigError, match="neither 'optimizer' nor 'constructor'.*'lr' is 0.1"):
        strategy.build_optim_wrapper({"lr": 0.1}, model)


def test_schedulers_in_epochs_turned_into_iterations(tmp_path):
    strategy = make(tmp_path)
    cfg = {"type": "LinearLR", "end": 2, "convert_to_iter_based": True}
    known = {"epoch_length": 7, "max_epochs": 5, "max_iters": 35}
    strategy.prepare(ToyModel(), optim_wrapper=SGD, param_scheduler=cfg, dispatch_kwargs=known)
    (scheduler,) = strategy.param_schedulers
    assert (scheduler.by_epoch, scheduler.end) == (False, 14)
    strategy = make(tmp_path)
    with pytest.raises(ConfigError, match="which needs the number of iterations in an epoch"):
        strategy.prepare(ToyModel(), optim_wrapper=SGD, param_scheduler=cfg)
    with pytest.raises(ConfigError, match="must be a scheduler, a dict, or a list of them, but got 3"):
        strategy.attach_schedulers([3])


def test_compile(tmp_path):
    strategy = make(tmp_path)
    model = strategy.prepare(ToyModel(), compile={"backend": "eager"})
    assert "ToyModel.forward is compiled" in log_of(strategy)
    assert hasattr(model.forward, "_torchdynamo_orig_callable")
    assert model(batch()["inputs"]).shape == (8, 3)
    with pytest.raises(ConfigError, match=r"compile target 'forwad' is no method of ToyModel.*'forward'"):
        make(tmp_path).prepare(ToyModel(), compile={"target": "forwad"})
    assert make(tmp_path).prepare(ToyModel(), compile=False).forward.__func__ is ToyModel.forward


def test_bad_settings_before_anything_is_touched(tmp_path):
    state = torch.get_rng_state()
    with pytest.raises(ConfigError, match=r"randomness has no setting 'seeed'.*Did you mean 'seed'"):
        make(tmp_path, env_kwargs={"randomness": {"seeed": 1}})
    with pytest.raises(ConfigError, match=r"launcher 'pytorh' is not available"):
        make(tmp_path, env_kwargs={"launcher": "pytorh"})
    assert torch.equal(torch.get_rng_state(), state)
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkDirError, match="work_dir .*Choose another folder with work_dir="):
        make(tmp_path / "file" / "x")


@pytest.fixture
def torch_settings():
    """Whatever a strategy may set is put back."""
    method = torch.multiprocessing.get_start_method(allow_none=True)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    cudnn = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    yield
    torch.multiprocessing.set_start_method(method, force=True)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = cudnn
    torch.use_deterministic_algorithms(False)
    if workspace is None:
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


@pytest.mark.usefixtures("torch_settings")
def test_environment(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wished = soft + 8 if hard == resource.RLIM_INFINITY else min(soft + 8, hard)
    env = {"cudnn_benchmark": True, "mp_cfg": {"mp_start_method": "spawn"}, "resource_limit": wished}
    make(tmp_path, env_kwargs=env)
    assert torch.backends.cudnn.benchmark
    assert torch.multiprocessing.get_start_method() == "spawn"
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == wished
    make(tmp_path, env_kwargs={"cudnn_benchmark": True, "randomness": {"deterministic": True}})
    assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.deterministic
    assert torch.are_deterministic_algorithms_enabled()


def test_seeds(tmp_path):
    make(tmp_path, env_kwargs={"randomness": {"seed": 3}})
    drawn = torch.rand(2)
    make(tmp_path, env_kwargs={"randomness": {"seed": 3}})
    assert torch.equal(torch.rand(2), drawn)
    assert 0 <= make(tmp_path).seed < 2**31
    assert Randomness.from_cfg({}) == Randomness()
    for seed in (-1, 1.5, True, 2**63):
        with pytest.raises(ConfigError, match="randomness seed must be a whole number"):
            Randomness.from_cfg({"seed": seed})


def test_a_wrapper_of_the_user_is_no_part_of_the_names_in_a_checkpoint():
    class WrapsForSaving(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    MODEL_WRAPPERS.register_module(module=WrapsForSaving)
    try:
        strategy = SingleDeviceStrategy()
        strategy.model = WrapsForSaving(torch.nn.Linear(1, 1))
        assert list(strategy.model_state_dict()) == ["weight", "bias"]
        weights = {"weight": torch.ones(1, 1), "bias": torch.zeros(1)}
        strategy.load_model_state_dict({"state_dict": weights})
        assert strategy.model.module.weight.item() == 1
    finally:
        MODEL_WRAPPERS.module_dict.pop("WrapsForSaving")
