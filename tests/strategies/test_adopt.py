"""The strategy of objects that a user has built, and strategies that take such objects over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from trainwright.strategies import AdoptedStrategy, DDPStrategy, FSDPStrategy, SingleDeviceStrategy
from trainwright.testing.ranks import run_ranks


class Net(nn.Module):
    """Two layers; ``init_weights`` would be seen."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)

    def init_weights(self) -> None:
        raise AssertionError("the weights are the user's")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x))).square().mean()


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def one_step(adopted: AdoptedStrategy, model: nn.Module, seed: int) -> None:
    torch.manual_seed(seed)
    adopted.optim_wrapper.update_params(model(torch.rand(3, 4)))


def test_it_takes_objects_as_they_are() -> None:
    model, before = Net(), torch.get_rng_state()
    optimizer = sgd(model)
    adopted = AdoptedStrategy(model, optimizer)
    assert adopted.model is adopted.unwrapped_model is model
    assert type(adopted.optim_wrapper) is OptimWrapper
    assert adopted.optim_wrapper.optimizer is optimizer
    assert (adopted.rank, adopted.world_size, adopted.distributed) == (0, 1, False)
    assert adopted.device == torch.device("cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_dict_of_optimizers_and_a_given_wrapper() -> None:
    model = Net()
    parts = {"first": sgd(model.first), "last": sgd(model.last)}
    several = AdoptedStrategy(model, parts)
    assert isinstance(several.optim_wrapper, OptimWrapperDict)
    assert list(several.optim_state_dict()) == ["first", "last"]
    assert several.optim_state_dict()["first"] == parts["first"].state_dict()
    given = AmpOptimWrapper(optimizer=sgd(model), dtype="bfloat16")
    alone = AdoptedStrategy(model, given)
    assert alone.optim_wrapper is given
    assert "loss_scaler" in alone.optim_state_dict()


def test_it_finds_the_users_module_inside_wrappers() -> None:
    model = Net()
    assert AdoptedStrategy(nn.DataParallel(model)).unwrapped_model is model
    compiled: Any = torch.compile(model, backend="eager")
    assert AdoptedStrategy(compiled).unwrapped_model is model
    assert list(AdoptedStrategy(compiled).model_state_dict()) == list(model.state_dict())


def test_state_is_in_torchs_own_layout_and_goes_back(tmp_path: Path) -> None:
    model = Net()
    groups = [{"params": model.first.parameters()}, {"params": model.last.parameters(), "lr": 0.2}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    adopted = AdoptedStrategy(model, optimizer, work_dir=tmp_path)
    one_step(adopted, model, 1)
    state = adopted.optim_state_dict()
    assert set(state) == {"state", "param_groups"}
    adopted.save_checkpoint(str(tmp_path / "iter_1.pth"), extra_ckpt={"meta": {"iter": 1, "epoch": 0}})
    assert adopted.checkpoints().latest() == str(tmp_path / "iter_1.pth")

    other = Net(seed=5)
    resumed = AdoptedStrategy(
        other, torch.optim.SGD([{"params": other.first.parameters()}, {"params": other.last.parameters()}], lr=9.0)
    )
    resumed.resume(str(tmp_path / "iter_1.pth"))
    one_step(adopted, model, 2)
    one_step(resumed, other, 2)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_what_is_no_optimizer_is_said() -> None:
    with pytest.raises(ConfigTypeError, match="optimizer must be a torch.optim.Optimizer.*'adam' of type str"):
        AdoptedStrategy(Net(), "adam")


def test_without_a_folder_there_are_no_checkpoints() -> None:
    with pytest.raises(ConfigError, match="no folder for checkpoints was named: give work_dir"):
        AdoptedStrategy(Net()).checkpoints()


def test_a_strategy_takes_over_what_a_user_built(tmp_path: Path) -> None:
    model = Net()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    placed, wrapper = SingleDeviceStrategy(work_dir=tmp_path).adopt(model, sgd(model), clip_grad={"max_norm": 1.0})
    assert placed is model
    assert wrapper.clip_grad_kwargs == {"max_norm": 1.0}
    assert all(torch.equal(value, weights[name]) for name, value in placed.state_dict().items())


def test_settings_for_a_wrapper_that_is_there_are_refused(tmp_path: Path) -> None:
    model = Net()
    with pytest.raises(ConfigError, match="is a wrapper already, so {'accumulative_counts': 2} would have no effect"):
        SingleDeviceStrategy(work_dir=tmp_path).adopt(model, OptimWrapper(sgd(model)), accumulative_counts=2)


def test_an_optimizer_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"SGD has a parameter of shape \(8, 4\) that is none of the model's"):
        SingleDeviceStrategy(work_dir=tmp_path).adopt(Net(), sgd(Net()))


def _adopted_by(kind: Any, folder: str) -> dict[str, torch.Tensor]:
    strategy = kind(work_dir=folder)
    model = Net(seed=strategy.rank)  # rank 0's weights count
    placed, wrapper = strategy.adopt(model, sgd(model))
    for step in range(3):
        torch.manual_seed(10 * step + strategy.rank)
        wrapper.update_params(placed(torch.rand(3, 4)))
    return strategy.model_state_dict()


@pytest.mark.parametrize("kind", [DDPStrategy, FSDPStrategy])
def test_ranks_train_one_model_with_the_users_optimizer(kind: Any, tmp_path: Path) -> None:
    first, second = run_ranks(2, _adopted_by, kind, str(tmp_path))
    model = Net()
    optimizer = sgd(model)
    for step in range(3):
        losses = []
        for rank in range(2):
            torch.manual_seed(10 * step + rank)
            losses.append(model(torch.rand(3, 4)))
        optimizer.zero_grad()
        (sum(losses) / 2).backward()
        optimizer.step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(first[name], value)
    if kind is DDPStrategy:
        assert all(torch.equal(first[name], second[name]) for name in first)


def _adopted_late(folder: str) -> str:
    model = Net()
    optimizer = sgd(model)
    model(torch.rand(3, 4)).backward()
    optimizer.step()
    with pytest.raises(ConfigError) as caught:
        FSDPStrategy(work_dir=folder).adopt(model, optimizer)
    return str(caught.value)


def test_an_optimizer_with_state_cannot_follow_replaced_parameters(tmp_path: Path) -> None:
    assert "SGD has made steps already" in run_ranks(2, _adopted_late, str(tmp_path))[0]
