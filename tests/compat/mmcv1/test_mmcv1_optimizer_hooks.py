import copy
import json
import logging
import pickle
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from trainwright.base.errors import ConfigTypeError
from trainwright.compat.mmcv1.errors import RuleError
from trainwright.compat.mmcv1.runner import EpochBasedRunner, IterBasedRunner
from trainwright.compat.mmcv1.runner.fp16_utils import auto_fp16
from trainwright.compat.mmcv1.runner.hooks.optimizer import (
    Fp16OptimizerHook,
    GradientCumulativeFp16OptimizerHook,
    GradientCumulativeOptimizerHook,
    OptimizerHook,
)
from trainwright.compat.mmcv1.runner.log_buffer import LogBuffer
from trainwright.state.plain import to_plain
from trainwright.testing.host_reads import count_host_reads


class Small(nn.Module):
    def __init__(self, norm=False):
        super().__init__()
        self.fp16_enabled = False
        self.fc = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2) if norm else nn.Identity()

    @auto_fp16(out_fp32=True)
    def forward(self, x):
        return self.norm(self.fc(x))


def fake_runner(n_iters=6, norm=False, **settings):
    torch.manual_seed(7)
    model = Small(norm)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    logger = logging.getLogger("mmcv1_optimizer_hooks")
    runner = SimpleNamespace(model=model, optimizer=optimizer, logger=logger, log_buffer=LogBuffer(), meta=None)
    vars(runner).update(iter=0, max_iters=n_iters, _max_iters=n_iters, **settings)
    return runner


def batches(n_iters=6):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(4, 3, generator=generator) for _ in range(n_iters)]


def train(runner, hook, start=0, stop=None):
    if start == 0:
        hook.before_run(runner)
    for index, batch in enumerate(batches(runner.max_iters)[start:stop], start):
        runner.iter = index
        runner.outputs = {"loss": runner.model(batch).pow(2).mean(), "num_samples": 4}
        hook.after_train_iter(runner)
    return [p.detach().clone() for p in runner.model.parameters()]


def by_hand(n_iters=6, window=1, max_norm=None):
    """The same in plain torch."""
    runner = fake_runner(n_iters)
    norms, grads = [], runner.model.parameters
    for index, batch in enumerate(batches(n_iters)):
        rest = n_iters % window
        share = window if index < n_iters - rest else rest
        (runner.model(batch).pow(2).mean() / share).backward()
        if (index + 1) % window == 0 or index + 1 == n_iters:
            if max_norm is not None:
                norms.append(nn.utils.clip_grad_norm_(list(grads()), max_norm).item())
            runner.optimizer.step()
            runner.optimizer.zero_grad()
    return [p.detach().clone() for p in runner.model.parameters()], norms


def assert_same(one, other):
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("max_norm", [None, 0.5])
def test_parameters_are_those_of_plain_torch(max_norm):
    runner = fake_runner()
    found = train(runner, OptimizerHook(grad_clip=None if max_norm is None else {"max_norm": max_norm}))
    expected, norms = by_hand(max_norm=max_norm)
    assert_same(found, expected)
    assert runner.log_buffer.val_history.get("grad_norm", []) == norms
    if norms:
        assert runner.log_buffer.n_history["grad_norm"] == [4] * 6


@pytest.mark.parametrize("hook", [OptimizerHook, GradientCumulativeOptimizerHook])
def test_nothing_is_read_between_log_lines(hook):
    runner = fake_runner()
    with count_host_reads() as reads:
        train(runner, hook(grad_clip={"max_norm": 0.5}))
    assert reads.total == 0, reads.report()


def test_half_precision_reads_what_torch_reads():
    """GradScaler asks once a step whether a gradient overflowed; the state in meta is read when somebody looks."""
    runner = fake_runner()
    with count_host_reads() as reads:
        train(runner, Fp16OptimizerHook(loss_scale="dynamic", grad_clip={"max_norm": 0.5}))
    assert reads.total == 6, reads.report()


@pytest.mark.parametrize("window", [1, 2, 4])
def test_windows_are_those_of_plain_torch(window):
    hook = GradientCumulativeOptimizerHook(cumulative_iters=window, grad_clip={"max_norm": 0.5})
    runner = fake_runner()
    expected, norms = by_hand(window=window, max_norm=0.5)
    assert_same(train(runner, hook), expected)
    assert runner.log_buffer.val_history["grad_norm"] == norms
    assert not hook.window_is_open


def test_a_window_goes_on_after_a_resume(caplog):
    whole = train(fake_runner(), GradientCumulativeOptimizerHook(cumulative_iters=4))
    runner, hook = fake_runner(), GradientCumulativeOptimizerHook(cumulative_iters=4)
    train(runner, hook, stop=3)
    assert hook.window_is_open
    state = hook.state_dict()
    other = GradientCumulativeOptimizerHook(cumulative_iters=4)
    other.load_state_dict(state)  # the gradients are there: the runner brings them
    assert_same(train(runner, other, start=3), whole)
    assert "lost" not in caplog.text


def test_what_is_lost_without_the_gradients_is_said(caplog):
    runner, hook = fake_runner(), GradientCumulativeOptimizerHook(cumulative_iters=4)
    train(runner, hook, start=3)
    assert "after iteration 3, inside a window of 4 cumulative_iters" in caplog.text
    assert "the 3 iteration(s) before it were not saved: they are lost" in caplog.text
    assert "the last 2 iteration(s) fill no window of 4 cumulative_iters" in caplog.text
    assert caplog.text.count("fill no window") == 1


def test_batch_norm_sees_small_batches(caplog):
    hook = GradientCumulativeOptimizerHook(cumulative_iters=2)
    train(fake_runner(norm=True), hook)
    assert "cumulative_iters=2 with batch norm" in caplog.text
    assert hook.has_batch_norm(nn.Sequential(nn.Sequential(nn.BatchNorm2d(2))))
    assert not hook.has_batch_norm(nn.Linear(2, 2))


@pytest.mark.parametrize("wrong", ["4", 0, -1, 1.0, True])
def test_a_window_is_a_whole_number(wrong):
    with pytest.raises(RuleError, match="cumulative_iters must be a whole number of at least 1, got"):
        GradientCumulativeOptimizerHook(cumulative_iters=wrong)


def test_an_optimizer_of_another_kind_is_asked_itself():
    calls = []
    runner = fake_runner()
    runner.optimizer = SimpleNamespace(zero_grad=lambda: calls.append("zero_grad"), step=lambda: calls.append("step"))
    train(runner, OptimizerHook(), start=5)
    assert calls == ["zero_grad", "step"]


@pytest.mark.parametrize("optimizer", [None, {}])
def test_several_optimizers_or_none_are_the_models_own(optimizer):
    runner = fake_runner()
    runner.optimizer = optimizer
    with pytest.raises(
        ConfigTypeError, match="needs one optimizer, got (NoneType|dict): where there are several or none"
    ):
        train(runner, OptimizerHook(), start=5)


def test_parameters_that_the_loss_does_not_depend_on(caplog):
    runner = fake_runner()
    runner.model.unused = nn.Linear(2, 1, bias=False)
    runner.model.fixed = nn.Linear(2, 1).requires_grad_(False)
    train(runner, OptimizerHook(detect_anomalous_params=True), start=5)
    assert [record.getMessage() for record in caplog.records] == [
        "the loss does not depend on the parameter unused.weight of shape (1, 2)\n"
    ]
    assert caplog.records[0].levelno == logging.ERROR


def test_a_very_deep_graph_is_no_recursion():
    runner = fake_runner()
    loss = runner.model.fc.weight.sum()
    for _ in range(5000):
        loss = loss + 1
    OptimizerHook().detect_anomalous_parameters(loss, runner)


# half precision ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss_scale", "scale"), [(512.0, 512.0), (8, 8.0), ("dynamic", 65536.0), ({"init_scale": 4.0}, 4.0)]
)
def test_half_precision_on_a_cpu(loss_scale, scale):
    runner, hook = fake_runner(), Fp16OptimizerHook(loss_scale=loss_scale)
    found = train(runner, hook)
    assert runner.model.fp16_enabled
    state = runner.meta["fp16"]["loss_scaler"]
    assert state["scale"] == scale
    exact, _ = by_hand()
    assert not all(torch.equal(a, b) for a, b in zip(found, exact, strict=True))
    assert all(torch.allclose(a, b, atol=2e-2) for a, b in zip(found, exact, strict=True))


def test_the_scale_shrinks_at_an_overflow_and_the_step_is_left_out():
    runner, hook = fake_runner(), Fp16OptimizerHook(loss_scale="dynamic")
    train(runner, hook, stop=2)
    before = [p.detach().clone() for p in runner.model.parameters()]
    runner.outputs = {"loss": runner.model(batches()[2]).sum() * float("inf"), "num_samples": 4}
    hook.after_train_iter(runner)
    assert_same(before, list(runner.model.parameters()))
    assert runner.meta["fp16"]["loss_scaler"]["scale"] == 32768.0


def test_the_scale_is_resumed_from_meta():
    runner, hook = fake_runner(), Fp16OptimizerHook(loss_scale={"init_scale": 4.0, "growth_interval": 2})
    train(runner, hook, stop=3)
    saved = to_plain(runner.meta)
    assert saved["fp16"]["loss_scaler"]["scale"] == 8.0
    other = Fp16OptimizerHook(loss_scale={"init_scale": 4.0, "growth_interval": 2})
    resumed = fake_runner()
    resumed.meta = saved
    other.before_run(resumed)
    assert other.loss_scaler.state_dict() == saved["fp16"]["loss_scaler"]


def test_the_state_of_the_scaler_is_a_dict_to_all_who_look():
    runner, hook = fake_runner(), Fp16OptimizerHook(loss_scale="dynamic")
    train(runner, hook, stop=2)
    seen = runner.meta["fp16"]["loss_scaler"]
    now = hook.loss_scaler.state_dict()
    assert isinstance(seen, dict)
    assert seen == now
    assert dict(seen) == now
    assert seen.copy() == now
    assert {**seen} == now
    assert list(seen) == list(now) == list(seen.keys())
    assert list(seen.values()) == list(now.values())
    assert (seen["scale"], seen.get("scale"), seen.get("none", 1)) == (now["scale"], now["scale"], 1)
    assert len(seen) == len(now)
    assert "scale" in seen
    assert repr(seen) == repr(now)
    for copied in (copy.deepcopy(seen), pickle.loads(pickle.dumps(seen)), to_plain(seen), json.loads(json.dumps(seen))):
        assert type(copied) is dict
        assert copied == now


def test_windows_in_half_precision():
    runner, hook = fake_runner(), GradientCumulativeFp16OptimizerHook(cumulative_iters=4, loss_scale=512.0)
    found = train(runner, hook)
    exact, _ = by_hand(window=4)
    assert all(torch.allclose(a, b, atol=2e-2) for a, b in zip(found, exact, strict=True))
    assert runner.meta["fp16"]["loss_scaler"]["scale"] == 512.0
    assert not hook.window_is_open
    assert all(p.grad is None for p in runner.model.parameters())


def test_a_window_in_half_precision_goes_on_after_a_resume():
    settings = {"cumulative_iters": 4, "loss_scale": "dynamic", "grad_clip": {"max_norm": 0.5}}
    whole = train(fake_runner(), GradientCumulativeFp16OptimizerHook(**settings))
    runner, hook = fake_runner(), GradientCumulativeFp16OptimizerHook(**settings)
    train(runner, hook, stop=3)
    runner.meta = to_plain(runner.meta)
    other = GradientCumulativeFp16OptimizerHook(**settings)
    other.load_state_dict(hook.state_dict())
    other.before_run(runner)
    assert_same(train(runner, other, start=3), whole)


@pytest.mark.parametrize("wrong", ["static", [1], None, True, 0, -2.0])
def test_a_loss_scale_is_a_number_dynamic_or_a_dict(wrong):
    with pytest.raises(ConfigTypeError, match="loss_scale must be a number above 0, 'dynamic' or a dict of GradScaler"):
        Fp16OptimizerHook(loss_scale=wrong)


def test_weights_of_old_half_precision_are_copied():
    hook = Fp16OptimizerHook()
    half, full = nn.Linear(2, 1).half(), [p.detach().float().requires_grad_() for p in nn.Linear(2, 1).parameters()]
    half.weight.grad = torch.ones_like(half.weight)
    hook.copy_grads_to_fp32(half, full)
    assert full[0].grad.dtype is torch.float32
    assert full[0].grad.tolist() == [[1.0, 1.0]]
    assert full[1].grad is None
    hook.copy_params_to_fp16(half, full)
    assert torch.equal(half.weight, full[0].half())


# in a run -------------------------------------------------------------------------------------------------------------


class Stepping(Small):
    def train_step(self, data, optimizer, **kwargs):
        loss = self(data + torch.rand(()) * 0.1).pow(2).mean()
        return {"loss": loss, "log_vars": {"loss": loss.detach()}, "num_samples": len(data)}


def runner_of(folder, kind, hook, **length):
    torch.manual_seed(5)
    model = Stepping()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    logger = logging.getLogger("mmcv1_optimizer_hooks")
    runner = kind(model, optimizer=optimizer, work_dir=str(folder), logger=logger, meta={}, **length)
    runner.register_optimizer_hook(hook)
    runner.register_checkpoint_hook({"interval": 1, "by_epoch": False})
    runner.register_logger_hooks({"interval": 5, "hooks": [{"type": "TextLoggerHook"}]})
    return runner


def run(runner):
    generator = torch.Generator().manual_seed(1)
    loader = DataLoader(torch.randn(24, 3, generator=generator), batch_size=4, shuffle=True)
    runner.run([loader], [("train", 1)])
    return [p.detach().clone() for p in runner.model.parameters()]


@pytest.mark.parametrize(
    "settings",
    [
        {"type": "OptimizerHook", "grad_clip": {"max_norm": 0.5}},
        {"type": "GradientCumulativeOptimizerHook", "cumulative_iters": 4, "grad_clip": {"max_norm": 0.5}},
        {"type": "Fp16OptimizerHook", "loss_scale": {"init_scale": 4.0, "growth_interval": 2}},
        {
            "type": "GradientCumulativeFp16OptimizerHook",
            "cumulative_iters": 4,
            "loss_scale": {"init_scale": 4.0, "growth_interval": 1},
        },
    ],
    ids=lambda settings: settings["type"],
)
@pytest.mark.parametrize(
    ("kind", "length"), [(EpochBasedRunner, {"max_epochs": 2}), (IterBasedRunner, {"max_iters": 12})]
)
def test_a_run_is_resumed_exactly(settings, kind, length, tmp_path, caplog):
    """Also in the middle of an epoch, and of a window of iterations."""
    whole = runner_of(tmp_path / "whole", kind, settings, **length)
    expected = run(whole)
    for at in (3, 7):
        resumed = runner_of(tmp_path / f"from_{at}", kind, settings, **length)
        resumed.resume(str(tmp_path / "whole" / f"iter_{at}.pth"))
        assert_same(run(resumed), expected)
        assert to_plain(resumed.meta.get("fp16", {})) == to_plain(whole.meta.get("fp16", {}))
    assert "lost" not in caplog.text


def test_a_run_reads_once_a_line(tmp_path):
    runner = runner_of(tmp_path, EpochBasedRunner, {"grad_clip": {"max_norm": 0.5}}, max_epochs=2)
    runner.hooks[1].interval = -1
    runner.hooks[1].save_last = False
    with count_host_reads() as reads:
        run(runner)
    # The loader's sampler reads its order. A line is due after 5 of the 6 iterations of each epoch.
    mine = {site: n for (_, site), n in reads.sites.items() if "compat" in site or "metrics" in site}
    assert list(mine.values()) == [2], reads.report()


def test_a_file_of_mmcv_itself_has_no_gradients(tmp_path, caplog):
    """Its window is taken up as MMCV does: with what follows alone. MMCV does not count the iteration that saves."""
    settings = {"type": "GradientCumulativeOptimizerHook", "cumulative_iters": 4}
    run(runner_of(tmp_path, IterBasedRunner, settings, max_iters=8))
    tree = torch.load(tmp_path / "iter_3.pth", weights_only=True)
    torch.save({key: tree[key] for key in ("meta", "state_dict", "optimizer")}, tmp_path / "theirs.pth")
    resumed = runner_of(tmp_path / "resumed", IterBasedRunner, settings, max_iters=8)
    resumed.resume(str(tmp_path / "theirs.pth"))
    run(resumed)
    assert "the 2 iteration(s) before it were not saved: they are lost" in caplog.text
