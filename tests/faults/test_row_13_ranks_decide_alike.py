"""One of two ranks has a NaN, or an infinite gradient: both do the same about it."""

import pytest
import torch
from torch.utils._pytree import tree_map

from trainwright.engine import Hook
from trainwright.hooks import LossGuardHook
from trainwright.registry import MODELS
from trainwright.runner import Runner
from trainwright.testing.rank_runs import in_ranks
from trainwright.testing.toys import ToyModel, differences, toy_config, toy_loader

STRATEGIES = ("DDPStrategy", "FSDPStrategy")
AMP = {"type": "AmpOptimWrapper", "dtype": "float16", "loss_scale": {"init_scale": 256.0, "growth_interval": 4}}


class _InfiniteBackward(torch.autograd.Function):
    """Changes nothing on the way forward; gradients become infinite on the way back."""

    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch.full_like(gradient, float("inf"))


@MODELS.register_module()
class OverflowingModel(ToyModel):
    """On rank 1 the gradients of training iteration `at` (from 0) are infinite, while its loss is a number."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.n_seen = at, 0

    def forward(self, inputs, label=None, mode="tensor"):
        if mode == "loss":
            self.n_seen += 1
            if self.n_seen == self.at + 1 and torch.distributed.get_rank() == 1:
                inputs = inputs.requires_grad_()
                scores = self.second(_InfiniteBackward.apply(torch.relu(self.first(inputs))))
                return {"loss": torch.nn.functional.cross_entropy(scores.float(), label)}
        return super().forward(inputs, label, mode)


class ScaleRecorder(Hook):
    """The loss scale after each iteration."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.scales: list[float] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.scales.append(runner.optim_wrapper.loss_scaler.get_scale())


def trained(folder, strategy, hook, **changes):
    """A run on this rank, and its final weights, whole."""
    config = toy_config(
        folder,
        train_dataloader=changes.pop("train_dataloader", toy_loader(32, 2)),
        strategy={"type": strategy},
        custom_hooks=[hook],
        **changes,
    )
    runner = Runner.from_cfg(config)
    runner.train()
    weights = runner.strategy.unwrapped_model.state_dict()
    return runner, tree_map(lambda value: value.full_tensor() if hasattr(value, "full_tensor") else value, weights)


def guarded(folder, strategy):
    hook = LossGuardHook(policy="skip", interval=3)
    _, weights = trained(folder, strategy, hook, train_dataloader=toy_loader(32, 2, nan_at=21))
    return hook.skipped, [event["iteration"] for event in hook.events], weights


def scaled(folder, strategy):
    hook = ScaleRecorder()
    runner, weights = trained(
        folder,
        strategy,
        hook,
        model={"type": "OverflowingModel", "at": 5},
        optim_wrapper={**AMP, "optimizer": {"type": "AdamW", "lr": 0.01}},
    )
    n_updates = {float(values["step"]) for values in runner.optim_wrapper.optimizer.state.values()}
    return hook.scales, n_updates, weights


def is_finite(weights):
    return all(torch.isfinite(value).all() for value in weights.values())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_both_leave_out_the_step_in_which_one_has_a_nan(tmp_path, strategy):
    (skipped, events, weights), other = in_ranks(2, guarded, tmp_path, strategy)
    assert len(skipped) == len(events) >= 1
    assert (skipped, events) == other[:2]
    assert is_finite(weights)
    assert differences(weights, other[2]) == []


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_both_skip_the_update_in_which_one_has_an_infinite_gradient(tmp_path, strategy):
    (scales, n_updates, weights), other = in_ranks(2, scaled, tmp_path, strategy)
    n_lower = sum(after < before for before, after in zip(scales, scales[1:], strict=False))
    assert n_lower == 1
    assert n_updates == {len(scales) - 1.0}
    assert (scales, n_updates) == other[:2]
    assert is_finite(weights)
    assert differences(weights, other[2]) == []
