"""What is known to go wrong with sharded parameters: overflow on one rank, kinds of parameters in one step, copies of a
model, methods besides forward, parameters that are frozen on the way, buffers, types, resumes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainwright import dist
from trainwright.base.errors import CheckpointError, ConfigError
from trainwright.checkpoint import load_weights
from trainwright.model import ExponentialMovingAverage
from trainwright.strategies import FSDPStrategy
from trainwright.strategies.fsdp_optim import AgreeingGradScaler
from trainwright.testing.rank_runs import ADAM, in_ranks, resume_differences
from trainwright.testing.toys import DIM, ToyModel

BATCH = {"inputs": torch.ones(4, DIM), "label": torch.zeros(4, dtype=torch.long)}


def made(folder: Path, wrapper: dict[str, Any] | None = None, **settings: Any) -> FSDPStrategy:
    strategy = FSDPStrategy(work_dir=folder, env_kwargs={"randomness": {"seed": 2}}, **{"wrap": ["Linear"], **settings})
    strategy.prepare(ToyModel(), optim_wrapper=wrapper or {"optimizer": {"type": "SGD", "lr": 0.1}})
    return strategy


def weights(strategy: FSDPStrategy) -> list[torch.Tensor]:
    return [dist.whole(param.detach()).clone() for param in strategy.model.parameters()]


def changed(before: list[torch.Tensor], strategy: FSDPStrategy) -> list[bool]:
    return [not torch.equal(one, other) for one, other in zip(before, weights(strategy), strict=True)]


def overflow(folder: Path, settings: dict[str, Any], optimizer: dict[str, Any]) -> tuple[list[float], list[bool], bool]:
    scaled = {"type": "AmpOptimWrapper", "dtype": "float16", "use_fsdp": True, "optimizer": optimizer}
    strategy = made(folder, {**scaled, "loss_scale": {"init_scale": 8.0}}, **settings)
    wrapper: Any = strategy.optim_wrapper
    scales, moved = [], []
    for step in range(3):
        before = weights(strategy)
        inputs = BATCH["inputs"].clone()
        with torch.autocast("cpu", enabled=False):
            loss = strategy.model(inputs, BATCH["label"], mode="loss")["loss"]
            wrapper.backward(loss)
        if step == 1 and dist.get_rank() == dist.get_world_size() - 1:  # in one part alone
            grads = [dist.local(p.grad) for p in strategy.model.parameters()]
            next(grad for grad in grads if grad.numel()).view(-1)[0] = float("inf")
        wrapper.step()
        wrapper.zero_grad()
        scales.append(wrapper.gradient_scale())
        moved.append(any(changed(before, strategy)))
    return scales, moved, isinstance(wrapper.loss_scaler, AgreeingGradScaler)


@pytest.mark.parametrize(
    ("n_ranks", "settings", "optimizer"),
    [
        pytest.param(2, {}, {"type": "SGD", "lr": 0.1}, marks=pytest.mark.conformance),
        (2, {"ignored": ["second.bias"]}, {"type": "AdamW", "lr": 0.1}),
        (4, {"replicate": 2}, {"type": "AdamW", "lr": 0.1, "foreach": True}),
    ],
    ids=["plain", "mixed", "hybrid"],
)
def test_an_overflow_in_one_part_stops_the_step_of_all(
    tmp_path: Path, n_ranks: int, settings: dict[str, Any], optimizer: dict[str, Any]
) -> None:
    found = in_ranks(n_ranks, overflow, tmp_path, settings, optimizer)
    assert found == [([8.0, 4.0, 4.0], [True, False, True], True)] * n_ranks


def refused_forms(folder: Path) -> list[str]:
    found = []
    for form in ("foreach", "fused"):
        with pytest.raises(ConfigError) as caught:
            made(folder, {"optimizer": {**ADAM, form: True}}, ignored=["second"])
        found.append(str(caught.value))
    return found


def test_forms_of_a_step_that_take_one_kind_are_refused_for_two(tmp_path: Path) -> None:
    foreach, fused = in_ranks(2, refused_forms, tmp_path)[0]
    assert "the optimizer has foreach=True, and a parameter group with both sharded parameters and some that" in foreach
    assert "the optimizer has fused=True" in fused


class Describing(ToyModel):
    """It computes with its weights in other methods than forward."""

    def describe(self, inputs: Any) -> Any:
        """Scores, by way of the layers themselves."""
        return self.second(torch.relu(nn.functional.linear(inputs, self.first.weight, self.first.bias)))


def methods_and_copies(folder: Path) -> dict[str, Any]:
    torch.manual_seed(4)
    model = Describing()
    expected = model.describe(BATCH["inputs"])
    found: dict[str, Any] = {}
    with pytest.raises(RuntimeError, match="DTensor"):
        FSDPStrategy(work_dir=folder).prepare(copy.deepcopy(model)).describe(BATCH["inputs"])
    strategy = FSDPStrategy(work_dir=folder, forward_methods=["describe"], activation_checkpointing=["first"])
    strategy.prepare(model)
    found["known"] = torch.allclose(strategy.model.describe(BATCH["inputs"]), expected)
    with pytest.raises(AssertionError, match="FSDP does not support deepcopy"):
        copy.deepcopy(strategy.model)
    average = ExponentialMovingAverage(strategy.model, momentum=0.5)
    with torch.no_grad():
        for param in strategy.model.parameters():
            dist.local(param).add_(2.0)
    average.update_parameters(strategy.model)
    average.update_parameters(strategy.model)
    mean = average.state_dict()["module.first.weight"]
    found["parts"] = dist.is_sharded(mean)
    found["mean"] = torch.equal(dist.whole(mean), dist.whole(strategy.model.state_dict()["first.weight"]))
    return found


def test_methods_besides_forward_and_averages_of_sharded_weights(tmp_path: Path) -> None:
    assert in_ranks(2, methods_and_copies, tmp_path) == [dict.fromkeys(("known", "parts", "mean"), True)] * 2


def frozen_on_the_way(folder: Path, settings: dict[str, Any]) -> list[list[bool]]:
    strategy = made(folder, **settings)
    moved = []
    for frozen in ("first", "second", ""):
        for name, param in strategy.model.named_parameters():
            param.requires_grad_(not frozen or not name.startswith(frozen))
        strategy.trainable_changed()
        before = weights(strategy)
        strategy.train_step(BATCH)
        moved.append(changed(before, strategy))
    return moved


@pytest.mark.parametrize("wrap", [["Linear"], []], ids=["units", "one"])
def test_parameters_are_frozen_and_thawed_on_the_way(tmp_path: Path, wrap: list[str]) -> None:
    first = [False, False, True, True]
    expected = [first, first[::-1], [True] * 4]
    assert in_ranks(2, frozen_on_the_way, tmp_path, {"wrap": wrap}) == [expected] * 2


def thawed_apart(folder: Path) -> tuple[list[list[bool]], list[torch.Tensor]]:
    model = ToyModel()
    model.second.requires_grad_(False)
    strategy = FSDPStrategy(work_dir=folder, ignored=["second"])
    strategy.prepare(model, optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}})
    moved = []
    for is_trained in (False, True):
        model.second.requires_grad_(is_trained)
        strategy.trainable_changed()
        before = weights(strategy)
        strategy.train_step({**BATCH, "inputs": BATCH["inputs"] + dist.get_rank()})
        moved.append(changed(before, strategy))
    return moved, [param.detach() for param in model.second.parameters()]


def test_what_is_ignored_may_be_frozen_and_is_averaged_when_it_is_thawed(tmp_path: Path) -> None:
    (moved, first), (_, second) = in_ranks(2, thawed_apart, tmp_path)
    assert moved == [[True, True, False, False], [True] * 4]
    assert all(map(torch.equal, first, second))


def test_a_type_that_loses_digits_is_said_by_name_and_refused_when_strict(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = nn.Linear(2, 2, dtype=torch.bfloat16)
    saved = {"state_dict": nn.Linear(2, 2).state_dict()}
    report = load_weights(model, saved)
    assert "2 from float32 to bfloat16 (weight, bias)" in report.cast_text()
    with pytest.raises(CheckpointError, match=r"cannot hold all digits.*float32 to bfloat16 \(weight, bias\)"):
        load_weights(model, saved, strict=True)
    load_weights(nn.Linear(2, 2, dtype=torch.float64), saved, strict=True)  # which can


def resumed(folder: Path, settings: dict[str, Any], changes: dict[str, Any]) -> list[str]:
    return resume_differences(folder, strategy={"type": "FSDPStrategy", "wrap": ["Linear"], **settings}, **changes)


@pytest.mark.conformance
@pytest.mark.parametrize(
    ("n_ranks", "settings"),
    [(2, {}), (3, {}), (4, {}), (4, {"replicate": 2}), (3, {"init_on": "meta"}), (2, {"ignored": ["first.bias"]})],
    ids=str,
)
def test_a_resumed_run_is_the_whole_one_bit_for_bit(tmp_path: Path, n_ranks: int, settings: dict[str, Any]) -> None:
    assert in_ranks(n_ranks, resumed, tmp_path, settings, {}) == [[]] * n_ranks


@pytest.mark.conformance
def test_a_single_file_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    settings = {"state_dict_cfg": "full", "replicate": 2}
    assert in_ranks(4, resumed, tmp_path, settings, {}) == [[]] * 4
    assert (tmp_path / "whole" / "iter_4.pth").is_file()
