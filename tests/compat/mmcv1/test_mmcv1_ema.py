import inspect
import logging
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from trainwright.base.errors import TrainwrightError
from trainwright.compat.mmcv1.runner import EMAHook, EpochBasedRunner, IterBasedRunner
from trainwright.compat.mmcv1.runner.hooks.hook import Hook
from trainwright.compat.mmcv1.runner.hooks.lr_updater import StepLrUpdaterHook
from trainwright.testing.host_reads import count_host_reads

N_ITERS = 4


class Net(nn.Module):
    """A linear layer and batch norm, trained on the mean of their output."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        self.scale = nn.Parameter(torch.ones(1))

    def train_step(self, data, optimizer, **kwargs):
        loss = (self.layer(data).sum(dim=1) * self.scale - data[:, 0]).pow(2).mean()
        return {"loss": loss, "log_vars": {"loss": loss.item()}, "num_samples": len(data)}

    def val_step(self, data, optimizer, **kwargs):
        return self.train_step(data, optimizer)


def make_net():
    torch.manual_seed(3)
    return Net()


def change(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))


def walk(hook, runner, n_epochs):
    """Epochs of four iterations, each of which changes the parameters; the model's state after each stage."""
    states = []

    def take():
        states.append({name: value.clone() for name, value in runner.model.state_dict().items()})

    hook.before_run(runner)
    take()
    for _ in range(n_epochs):
        hook.before_train_epoch(runner)
        take()
        for _ in range(N_ITERS):
            change(runner.model, runner.iter)
            hook.after_train_iter(runner)
            take()
            runner.iter += 1
        hook.after_train_epoch(runner)
        take()
    return states


def assert_same(states, others):
    assert len(states) == len(others)
    for state, other in zip(states, others, strict=True):
        assert list(state) == list(other)
        for name, value in state.items():
            assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("interval", [1, 3])
def test_the_arithmetic(interval):
    model = make_net()
    hook = EMAHook(momentum=0.1, interval=interval, warm_up=20)
    runner = SimpleNamespace(model=model, iter=0)
    hook.before_run(runner)
    hook.before_train_epoch(runner)
    expected = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for runner.iter in range(12):
        change(model, runner.iter)
        hook.after_train_iter(runner)
        momentum = min(0.1**interval, (1 + runner.iter) / (20 + runner.iter))
        for name, parameter in model.named_parameters():
            if runner.iter % interval == 0:
                expected[name].mul_(1 - momentum).add_(parameter.detach(), alpha=momentum)
            assert torch.equal(model.get_buffer(hook.param_ema_buffer[name]), expected[name])
    assert set(hook.param_ema_buffer.values()) == {
        "ema_layer_0_weight",
        "ema_layer_0_bias",
        "ema_layer_1_weight",
        "ema_layer_1_bias",
        "ema_scale",
    }


@pytest.mark.mmcv1
@pytest.mark.filterwarnings("ignore")  # MMCV's own warnings
@pytest.mark.parametrize("arguments", [{}, {"momentum": 0.3, "interval": 2, "warm_up": 3}])
def test_averages_beside_mmcv(real_mmcv, arguments):
    theirs = real_mmcv.runner.EMAHook(**arguments)
    ours = EMAHook(**arguments)
    runs = [walk(hook, SimpleNamespace(model=make_net(), iter=0), 3) for hook in (ours, theirs)]
    assert_same(*runs)
    own, other = (
        [(p.name, p.default) for p in inspect.signature(type(hook)).parameters.values()] for hook in (ours, theirs)
    )
    assert own == other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"interval": 0}, "interval must be a positive integer, got 0"),
        ({"interval": 1.5}, "interval must be a positive integer, got 1.5"),
        ({"momentum": 0}, "momentum must lie between 0 and 1, both left out, got 0"),
        ({"momentum": 1}, "momentum must lie between 0 and 1, both left out, got 1"),
    ],
)
def test_settings_that_are_refused(arguments, message):
    with pytest.raises(AssertionError, match=f"EMAHook {message}") as error:
        EMAHook(**arguments)
    assert isinstance(error.value, TrainwrightError)


def test_nothing_is_read_from_the_device():
    runner = SimpleNamespace(model=make_net(), iter=0)
    with count_host_reads() as reads:
        walk(EMAHook(momentum=0.1, warm_up=3), runner, 2)
    assert reads.total == 0


def test_names_that_would_be_one_buffer():
    model = nn.Module()
    model.part = nn.Linear(1, 1)
    model.part_weight = nn.Parameter(torch.ones(1))
    with pytest.raises(AssertionError, match="differ in dots and underscores alone"):
        EMAHook().before_run(SimpleNamespace(model=model))


def test_a_model_without_parameters():
    runner = SimpleNamespace(model=nn.Identity(), iter=0)
    assert walk(EMAHook(), runner, 1) == [{}] * (3 + N_ITERS)


def test_no_warm_up():
    """Iteration 0 of no warm-up has the whole momentum."""
    model = nn.Linear(1, 1)
    hook = EMAHook(momentum=0.5, warm_up=0)
    runner = SimpleNamespace(model=model, iter=0)
    hook.before_run(runner)
    before = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1)
    hook.after_train_iter(runner)
    assert torch.equal(model.ema_weight, before * 0.5 + model.weight.detach() * 0.5)


# --- in runs


class Optimize(Hook):
    """The step of an optimizer, and what the weights are then."""

    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner):
        runner.optimizer.zero_grad()
        runner.outputs["loss"].backward()
        runner.optimizer.step()

    def after_val_iter(self, runner):
        self.seen.append(runner.model.scale.item())


class Save(Hook):
    """A checkpoint at the end of an iteration, or of an epoch; then the run is broken off."""

    def __init__(self, at, stage):
        self.at, self.stage = at, stage

    def after_train_iter(self, runner):
        self.save(runner, "iter")

    def after_train_epoch(self, runner):
        self.save(runner, "epoch")

    def save(self, runner, stage):
        if stage == self.stage and getattr(runner, stage) == self.at:
            runner.save_checkpoint(runner.work_dir, "part.pth", create_symlink=False)
            raise InterruptedError


def make_runner(folder, ema, max_epochs=3):
    model = make_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    logger = logging.getLogger("test_mmcv1_ema")
    logger.propagate = False
    runner = EpochBasedRunner(model, optimizer=optimizer, work_dir=str(folder), logger=logger, max_epochs=max_epochs)
    runner.register_hook(StepLrUpdaterHook(step=1, gamma=0.5), "VERY_HIGH")
    runner.register_hook(Optimize(), "ABOVE_NORMAL")
    if ema is not None:
        runner.register_hook(ema)
    return runner


def run(runner, shuffle=True):
    torch.manual_seed(11)
    data = torch.randn(4 * N_ITERS, 3, generator=torch.Generator().manual_seed(5))
    loaders = [DataLoader(data, batch_size=4, shuffle=shuffle), DataLoader(data, batch_size=8)]
    runner.run(loaders, [("train", 1), ("val", 1)])
    return runner


def saved(folder, at, stage, shuffle=True):
    """The checkpoint of a run that was broken off."""
    runner = make_runner(folder, EMAHook(momentum=0.2))
    runner.register_hook(Save(at, stage), "LOWEST")
    with pytest.raises(InterruptedError):
        run(runner, shuffle)
    return str(folder / "part.pth")


def test_evaluation_sees_the_average(tmp_path):
    runner = run(make_runner(tmp_path / "ema", EMAHook(momentum=0.2)))
    plain = run(make_runner(tmp_path / "plain", None))
    (seen,) = [hook.seen for hook in runner.hooks if isinstance(hook, Optimize)]
    assert seen[-1] == runner.model.scale.item() != plain.model.scale.item()
    assert torch.equal(runner.model.ema_scale, plain.model.scale.detach())


def test_a_checkpoint_of_mmcv_is_resumed_by_the_hook(tmp_path):
    """It was saved between epochs, where parameters and average have changed places."""
    whole = run(make_runner(tmp_path / "whole", EMAHook(momentum=0.2)), shuffle=False)
    path = saved(tmp_path / "first", 0, "epoch", shuffle=False)
    tree = torch.load(path, weights_only=True)
    del tree["trainwright"]  # MMCV has no such key
    torch.save(tree, path)
    second = run(make_runner(tmp_path / "second", EMAHook(momentum=0.2, resume_from=path)), shuffle=False)
    assert_same([second.model.state_dict()], [whole.model.state_dict()])
    assert (second.epoch, second.iter) == (3, 3 * N_ITERS)


def test_a_run_by_iterations_goes_on(tmp_path):
    """MMCV fires no event of an epoch there, so the average stays in the buffers."""
    data = torch.randn(4 * N_ITERS, 3, generator=torch.Generator().manual_seed(5))

    def trained(hook=None, path=None):
        model = make_net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        logger = logging.getLogger("test_mmcv1_ema")
        runner = IterBasedRunner(model, optimizer=optimizer, work_dir=str(tmp_path), logger=logger, max_iters=10)
        runner.register_hook(Optimize())
        runner.register_hook(EMAHook(momentum=0.2))
        if hook is not None:
            runner.register_hook(hook, "LOWEST")
        if path is not None:
            runner.resume(path)
        torch.manual_seed(11)
        runner.run([DataLoader(data, batch_size=4, shuffle=True)], [("train", 1)])
        return runner

    whole = trained()
    with pytest.raises(InterruptedError):
        trained(Save(5, "iter"))
    second = trained(path=str(tmp_path / "part.pth"))
    assert_same([second.model.state_dict()], [whole.model.state_dict()])
    assert not torch.equal(whole.model.ema_scale, whole.model.scale)


@pytest.mark.parametrize("by_hook", [True, False])
@pytest.mark.parametrize(("at", "stage"), [(2, "iter"), (5, "iter"), (7, "iter"), (1, "epoch")])
def test_a_run_goes_on_bit_for_bit(tmp_path, at, stage, by_hook):
    """From inside an epoch, where the average lies in the buffers, also where these come after the file was read."""
    whole = run(make_runner(tmp_path / "whole", EMAHook(momentum=0.2)))
    path = saved(tmp_path / "first", at, stage)
    second = make_runner(tmp_path / "second", EMAHook(momentum=0.2, resume_from=path if by_hook else None))
    if not by_hook:
        second.resume(path)
    run(second)
    assert_same([second.model.state_dict()], [whole.model.state_dict()])
