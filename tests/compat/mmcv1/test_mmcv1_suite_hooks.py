"""What hooks do to a run, to files and to mocks, as MMCV 1.x's users rely on it."""

import logging
import os
from unittest.mock import MagicMock, Mock, patch

import pytest
import torch
from mmcv1_suite import Steps, bare_runner, demo_runner, ones, packages
from torch import nn
from torch.utils.data import DataLoader


@pytest.fixture
def petrel(mmcv):
    with packages("petrel_client", "petrel_client.client"):
        from mmcv.fileio.file_client import PetrelBackend

        yield PetrelBackend


# --- stages


def test_stages_that_a_hook_takes_part_in(mmcv):
    class Mine(mmcv.runner.Hook):
        def before_run(self):
            """Of the run itself."""

        def after_epoch(self):
            """Of both kinds of epoch."""

    assert Mine().get_triggered_stages() == ["before_run", "after_train_epoch", "after_val_epoch"]
    assert mmcv.runner.Hook().get_triggered_stages() == []

    class Inner(Mine):
        def before_val_iter(self, runner):
            """In addition."""

    assert Inner().get_triggered_stages() == ["before_run", "after_train_epoch", "before_val_iter", "after_val_epoch"]


def test_intervals(mmcv):
    hook, runner = (
        mmcv.runner.Hook(),
        Mock(epoch=2, iter=5, inner_iter=1, data_loader=[0, 1], _max_epochs=3, _max_iters=6),
    )
    assert hook.every_n_epochs(runner, 3)
    assert not hook.every_n_epochs(runner, 2)
    assert not hook.every_n_epochs(runner, 0)
    assert not hook.every_n_epochs(runner, -1)
    assert hook.every_n_iters(runner, 6)
    assert not hook.every_n_iters(runner, 4)
    assert hook.every_n_inner_iters(runner, 2)
    assert not hook.every_n_inner_iters(runner, 3)
    assert hook.end_of_epoch(runner)
    assert hook.is_last_epoch(runner)
    assert hook.is_last_iter(runner)


def test_log_buffer(mmcv):
    import numpy as np
    from mmcv.runner import LogBuffer

    buffer = LogBuffer()
    for attribute in ("val_history", "n_history", "output"):
        assert len(getattr(buffer, attribute)) == 0
    assert not buffer.ready
    buffer.update({"loss": 1.0, "acc": 2})
    buffer.update({"loss": 3.0}, 3)
    assert list(buffer.val_history["loss"]) == [1.0, 3.0]
    assert list(buffer.n_history["loss"]) == [1, 3]
    buffer.average(2)
    assert buffer.ready
    assert buffer.output["loss"] == pytest.approx((1 + 9) / 4)
    assert np.isclose(buffer.output["acc"], 2)
    buffer.average(1)
    assert buffer.output["loss"] == 3.0
    buffer.clear_output()
    assert not buffer.ready
    assert len(buffer.output) == 0
    assert list(buffer.val_history["loss"]) == [1.0, 3.0]
    buffer.clear()
    assert len(buffer.val_history) == 0
    with pytest.raises(AssertionError):
        buffer.average(-1)
    with pytest.raises(AssertionError):
        buffer.update([1])


# --- optimizer


class Forks(nn.Module):
    """The third layer takes no part, and what the second one gives is left out of the first output."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 3, padding=1)
        self.conv2 = nn.Conv2d(2, 2, 3, padding=1)
        self.conv3 = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x):
        first = self.conv1(x)
        return first, self.conv2(first)


@pytest.mark.parametrize(("output", "named"), [(0, {"conv2", "conv3"}), (1, {"conv3"})])
def test_parameters_outside_of_the_graph_are_named(mmcv, output, named):
    class Messages:
        text = ""

        def log(self, msg=None, **kwargs):
            assert kwargs == {"level": logging.ERROR}
            self.text += msg

    model = Forks()
    runner = Mock(model=model, logger=Messages())
    runner.outputs = {"num_samples": 0, "loss": model(torch.rand(1, 1, 3, 3))[output].sum()}
    mmcv.runner.OptimizerHook({"max_norm": 2}, detect_anomalous_params=True).after_train_iter(runner)
    for layer in ("conv1", "conv2", "conv3"):
        for kind in ("weight", "bias"):
            assert (f"{layer}.{kind}" in runner.logger.text) == (layer in named)
    runner.optimizer.zero_grad.assert_called_once_with()
    runner.optimizer.step.assert_called_once_with()
    (values, n_samples), _ = runner.log_buffer.update.call_args
    assert n_samples == 0
    assert set(values) == {"grad_norm"}
    assert float(values["grad_norm"]) > 0


def test_the_optimizer_hook_trains(mmcv, tmp_path):
    runner = bare_runner(tmp_path)
    before = [p.clone() for p in runner.model.linear.parameters()]
    runner.register_optimizer_hook({"grad_clip": None})
    runner.run([ones()], [("train", 1)])
    assert all((p < b).all() for p, b in zip(runner.model.linear.parameters(), before, strict=True))
    assert all(p.grad is None for p in runner.model.conv.parameters())


class Line(Steps):
    """Computes one number, whose loss carries a number of samples."""

    def __init__(self, first=1.0):
        super().__init__()
        self.fp16_enabled = False
        self.fc = nn.Linear(1, 1)
        nn.init.constant_(self.fc.weight, first)
        nn.init.constant_(self.fc.bias, first)

    def forward(self, x):
        return self.fc(x)

    def train_step(self, data, optimizer, **kwargs):
        return {"loss": self(data).mean(), "num_samples": data.shape[0]}


def weights_after(tmp_path, hook, loader, *, kind="IterBasedRunner", length, schedule=None):
    model = Line()
    runner = (
        bare_runner(tmp_path, kind, model=model, max_epochs=None, max_iters=length)
        if kind == "IterBasedRunner"
        else (bare_runner(tmp_path, kind, model=model, max_epochs=length))
    )
    runner.optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    runner.register_hook(hook)
    runner.run([loader], [("train", 1)])
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("n_samples", [6, 8, 10])
def test_accumulated_batches_are_one_batch(mmcv, tmp_path, n_samples):
    """Windows of three batches of one sample, the last one perhaps shorter, are as batches of three."""
    data = torch.rand(n_samples, 1)
    hooks = mmcv.runner
    small = weights_after(
        tmp_path,
        hooks.GradientCumulativeOptimizerHook(grad_clip={"max_norm": 0.2}, cumulative_iters=3),
        DataLoader(data, batch_size=1),
        length=n_samples,
    )
    large = weights_after(
        tmp_path,
        hooks.OptimizerHook(grad_clip={"max_norm": 0.2}),
        DataLoader(data, batch_size=3),
        length=-(-n_samples // 3),
    )
    for one, other in zip(small, large, strict=True):
        assert torch.allclose(one, other)


def test_accumulation_by_epochs(mmcv, tmp_path):
    data = torch.rand(6, 1)
    small = weights_after(
        tmp_path,
        mmcv.runner.GradientCumulativeOptimizerHook(cumulative_iters=3),
        DataLoader(data),
        kind="EpochBasedRunner",
        length=2,
    )
    large = weights_after(
        tmp_path, mmcv.runner.OptimizerHook(), DataLoader(data, batch_size=3), kind="EpochBasedRunner", length=2
    )
    for one, other in zip(small, large, strict=True):
        assert torch.allclose(one, other)


def test_accumulation_says_what_it_needs(mmcv, tmp_path):
    with pytest.raises(AssertionError):
        mmcv.runner.GradientCumulativeOptimizerHook(cumulative_iters="1")
    with pytest.raises(AssertionError):
        mmcv.runner.GradientCumulativeOptimizerHook(cumulative_iters=0)
    with_norm = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    hook = mmcv.runner.GradientCumulativeOptimizerHook(cumulative_iters=2)
    assert hook.has_batch_norm(with_norm)
    assert not hook.has_batch_norm(nn.Linear(1, 1))
    runner = Mock(iter=1, max_iters=5, model=with_norm)
    runner.logger = MagicMock()
    hook._init(runner)
    assert runner.logger.warning.called  # iterations do not divide, and a batch norm sees small batches
    assert hook.initialized


# --- checkpoints


@pytest.mark.parametrize(
    ("kind", "length", "names"),
    [
        ("EpochBasedRunner", {"max_epochs": 4}, ["epoch_3.pth", "epoch_4.pth"]),
        ("IterBasedRunner", {"max_epochs": None, "max_iters": 4}, ["iter_3.pth", "iter_4.pth"]),
    ],
)
def test_checkpoint_hook(mmcv, tmp_path, kind, length, names):
    runner = bare_runner(tmp_path / "work", kind, **length)
    runner.meta = {}
    by_epoch = kind == "EpochBasedRunner"
    runner.register_hook(mmcv.runner.CheckpointHook(interval=1, by_epoch=by_epoch, max_keep_ckpts=2))
    runner.run([ones()], [("train", 1)])
    work_dir = tmp_path / "work"
    assert runner.meta["hook_msgs"]["last_ckpt"] == os.path.join(runner.work_dir, names[-1])
    assert sorted(path.name for path in work_dir.glob("*_*.pth")) == names
    assert os.readlink(work_dir / "latest.pth") == names[-1]


def test_the_last_checkpoint_and_what_is_in_it(mmcv, tmp_path):
    runner = bare_runner(tmp_path / "work", max_epochs=3)
    hook = mmcv.runner.CheckpointHook(
        interval=2, save_optimizer=False, filename_tmpl="mine_{}.pth", out_dir=str(tmp_path / "out")
    )
    runner.register_hook(hook)
    runner.run([ones()], [("train", 1)])
    out = tmp_path / "out" / "work"
    assert hook.out_dir == str(out)
    assert sorted(path.name for path in out.iterdir()) == ["latest.pth", "mine_2.pth", "mine_3.pth"]
    saved = torch.load(out / "mine_3.pth")
    assert "optimizer" not in saved
    assert (saved["meta"]["epoch"], saved["meta"]["iter"]) == (3, 15)
    runner = bare_runner(tmp_path / "other", max_epochs=3)
    runner.register_hook(mmcv.runner.CheckpointHook(interval=2, save_last=False, create_symlink=False))
    runner.run([ones()], [("train", 1)])
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == ["epoch_2.pth"]


@pytest.mark.parametrize(
    ("kind", "length", "last"),
    [
        ("EpochBasedRunner", {"max_epochs": 4}, "epoch_4.pth"),
        ("IterBasedRunner", {"max_epochs": None, "max_iters": 4}, "iter_4.pth"),
    ],
)
def test_checkpoints_on_an_object_store(mmcv, petrel, tmp_path, kind, length, last):
    runner = bare_runner(tmp_path / "work", kind, **length)
    runner.meta = {}
    with (
        patch.object(petrel, "put") as put,
        patch.object(petrel, "remove") as remove,
        patch.object(petrel, "isfile") as isfile,
    ):
        runner.register_hook(
            mmcv.runner.CheckpointHook(
                interval=1, out_dir="s3://user/data", by_epoch=kind == "EpochBasedRunner", max_keep_ckpts=2
            )
        )
        runner.run([ones()], [("train", 1)])
    assert runner.meta["hook_msgs"]["last_ckpt"] == f"s3://user/data/work/{last}"
    assert put.call_count == 4
    assert put.call_args.args[1] == f"s3://user/data/work/{last}"
    assert remove.called
    assert isfile.called
    assert list((tmp_path / "work").iterdir()) == []


# --- averaged weights


class Zeros(Steps):
    """A layer of zeros, whose output is summed."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, kernel_size=1, padding=1)
        nn.init.constant_(self.conv.weight, 0)
        nn.init.constant_(self.conv.bias, 0)

    def forward(self, x):
        return self.conv(x).sum()


def test_averages_lie_in_buffers_and_are_resumed(mmcv, tmp_path):
    """The model is set on the runner by hand, and the file is changed with torch between the runs."""
    loader = DataLoader(torch.ones((1, 1, 1, 1)))
    model = Zeros()
    first = demo_runner(tmp_path / "first")
    first.model = model
    first.register_hook(
        mmcv.runner.EMAHook(momentum=0.1, interval=2, warm_up=100, resume_from=None), priority="HIGHEST"
    )
    first.register_hook(mmcv.runner.CheckpointHook(interval=1, by_epoch=True), priority="LOWEST")
    first.run([loader, loader], [("train", 1), ("val", 1)])
    path = tmp_path / "first" / "epoch_1.pth"
    checkpoint = torch.load(path)
    averages = {name: value for name, value in checkpoint["state_dict"].items() if "ema" in name}
    assert set(averages) == {"ema_conv_weight", "ema_conv_bias"}
    for value in checkpoint["state_dict"].values():
        assert value.sum() == 0
    for value in averages.values():
        value.fill_(1)
    torch.save(checkpoint, path)

    second = demo_runner(tmp_path / "second", max_epochs=2)
    second.model = model
    second.register_hook(mmcv.runner.EMAHook(momentum=0.5, warm_up=0, resume_from=str(path)), priority="HIGHEST")
    second.register_hook(mmcv.runner.CheckpointHook(interval=1, by_epoch=True), priority="LOWEST")
    second.run([loader, loader], [("train", 1), ("val", 1)])
    checkpoint = torch.load(tmp_path / "second" / "epoch_2.pth")
    assert checkpoint["meta"]["epoch"] == 2
    for name, value in checkpoint["state_dict"].items():
        assert value.sum() == (2 if "ema" in name else 1), name


@pytest.mark.parametrize("settings", [{"interval": 0}, {"interval": 1.5}, {"momentum": 0}, {"momentum": 1}])
def test_averages_refuse(mmcv, settings):
    with pytest.raises(AssertionError):
        mmcv.runner.EMAHook(**settings)


# --- the small ones


def test_a_closure_is_a_hook(mmcv):
    called = []
    hook = mmcv.runner.ClosureHook("before_run", called.append)
    hook.before_run("runner")
    assert called == ["runner"]
    with pytest.raises(AssertionError):
        mmcv.runner.ClosureHook("no_stage", called.append)
    with pytest.raises(AssertionError):
        mmcv.runner.ClosureHook("before_run", "no function")


def test_buffers_of_ranks(mmcv, tmp_path):
    runner = demo_runner(tmp_path)
    runner.register_hook_from_cfg({"type": "SyncBuffersHook"})
    runner.run([ones(), ones()], [("train", 1), ("val", 1)])
    assert [type(hook).__name__ for hook in runner.hooks].count("SyncBuffersHook") == 1
    assert runner.iter == 5


def test_seeds_of_samplers(mmcv):
    hook = mmcv.runner.DistSamplerSeedHook()
    runner = Mock(epoch=3)
    hook.before_epoch(runner)
    runner.data_loader.sampler.set_epoch.assert_called_once_with(3)

    class Without:
        """A loader whose sampler has no epochs, while that of its batches has."""

        sampler = object()
        batch_sampler = Mock()

    runner.data_loader = Without()
    hook.before_epoch(runner)
    Without.batch_sampler.sampler.set_epoch.assert_called_once_with(3)


def test_times_of_iterations(mmcv, tmp_path):
    runner = bare_runner(tmp_path)
    runner.register_hook(mmcv.runner.IterTimerHook())
    runner.run([ones()], [("train", 1)])
    assert len(runner.log_buffer.val_history["time"]) == 5
    assert len(runner.log_buffer.val_history["data_time"]) == 5
    assert all(
        0 <= data_time <= whole
        for data_time, whole in zip(
            runner.log_buffer.val_history["data_time"], runner.log_buffer.val_history["time"], strict=True
        )
    )


def test_empty_cache(mmcv):
    hook = mmcv.runner.hooks.EmptyCacheHook(before_epoch=True, after_epoch=False, after_iter=True)
    with patch("torch.cuda.empty_cache") as empty_cache:
        hook.before_epoch(None)
        hook.after_iter(None)
        hook.after_epoch(None)
    assert empty_cache.call_count == 2


@pytest.mark.parametrize("several", [False, True])
def test_hooks_on_several_optimizers(mmcv, tmp_path, several):
    runner = bare_runner(tmp_path, several=several)
    runner.register_hook_from_cfg({"type": "StepLrUpdaterHook", "step": [1, 2], "gamma": 0.5})
    runner.register_hook_from_cfg({"type": "StepMomentumUpdaterHook", "by_epoch": False, "step": [2], "gamma": 0.1})
    seen = []

    class Watch(mmcv.runner.Hook):
        def after_train_iter(self, runner):
            seen.append((runner.current_lr(), runner.current_momentum()))

    runner.register_hook(Watch(), priority="VERY_LOW")
    runner._max_epochs = 2
    runner.run([ones(2)], [("train", 1)])
    lrs, momenta = zip(*seen, strict=True)
    if several:
        assert [lr["second"][0] for lr in lrs] == [0.01, 0.01, 0.005, 0.005]
        assert [m["first"][0] for m in momenta] == pytest.approx([0.95, 0.95, 0.095, 0.095])
    else:
        assert [lr[0] for lr in lrs] == [0.02, 0.02, 0.01, 0.01]
        assert [m[0] for m in momenta] == pytest.approx([0.95, 0.95, 0.095, 0.095])


PROFILER_ERRORS = [
    ({"by_epoch": 1}, AssertionError),
    ({"profile_iters": 0}, ValueError),
    ({"activities": "cpu"}, ValueError),
    ({"activities": ["gpu"]}, ValueError),
    ({"schedule": 3}, TypeError),
]


@pytest.mark.parametrize(("settings", "error"), PROFILER_ERRORS)
def test_the_profiler_refuses(mmcv, settings, error):
    with pytest.raises(error):
        mmcv.runner.hooks.ProfilerHook(**settings)


@pytest.mark.parametrize("handler", [5, {"type": "no_such_trace"}])
def test_the_profiler_knows_two_kinds_of_trace(mmcv, tmp_path, handler):
    runner = bare_runner(tmp_path)
    runner.register_profiler_hook({"on_trace_ready": handler})
    with pytest.raises(ValueError, match="trace"):
        runner.run([ones(1)], [("train", 1)])


def test_the_profiler_prints_a_table(mmcv, tmp_path, capsys):
    runner = bare_runner(tmp_path)
    runner.register_profiler_hook(
        {
            "activities": ["cpu"],
            "on_trace_ready": {"type": "log_trace", "sort_by": "self_cpu_time_total", "row_limit": 5},
            "schedule": {"wait": 1, "warmup": 1, "active": 2},
        }
    )
    runner.run([ones(4)], [("train", 1)])
    assert "Self CPU" in capsys.readouterr().out


def test_a_profile_is_written(mmcv, tmp_path):
    runner = bare_runner(tmp_path)
    runner.register_hook(
        mmcv.runner.hooks.ProfilerHook(
            by_epoch=False, profile_iters=1, activities=["cpu"], json_trace_path=str(tmp_path / "trace.json")
        )
    )
    runner.run([ones(2)], [("train", 1)])
    assert (tmp_path / "trace.json").stat().st_size > 0
    called = Mock()
    runner = bare_runner(tmp_path)
    runner.register_profiler_hook(
        mmcv.runner.hooks.ProfilerHook(by_epoch=True, activities=["cpu"], on_trace_ready=called)
    )
    runner.run([ones(2)], [("train", 1)])
    called.assert_called_once()


def test_hooks_work_with_whatever_has_what_they_read(mmcv):
    hook = mmcv.runner.hooks.IterTimerHook()
    runner = MagicMock()
    hook.before_epoch(runner)
    hook.before_iter(runner)
    hook.after_iter(runner)
    assert [set(call.args[0]) for call in runner.log_buffer.update.call_args_list] == [{"data_time"}, {"time"}]
