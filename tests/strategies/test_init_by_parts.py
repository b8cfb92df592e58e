"""A model of which no rank has the whole: the same numbers as in one process, and how much lies in memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainwright import dist
from trainwright.base.errors import ConfigError
from trainwright.checkpoint.stored import OpenFiles
from trainwright.model import BaseModel
from trainwright.registry import MODELS
from trainwright.strategies import FSDPStrategy, SingleDeviceStrategy
from trainwright.strategies.init_by_parts import InitByParts
from trainwright.testing.rank_runs import in_ranks

WIDTH, DEPTH = 96, 8
MODEL = {"type": "PartwiseModel"}
SEED = {"randomness": {"seed": 3}}


@MODELS.register_module()
class PartwiseModel(nn.Module):
    """Every usual way to make and draw parameters and buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8, padding_idx=3)
        self.place = nn.Parameter(torch.randn(1, 5, 8) * 0.02)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16)) for _ in range(2))
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)  # which are deep copies of it
        self.recurrent, self.conv = nn.LSTM(4, 4), nn.Conv2d(3, 4, 3)
        self.rates = [float(rate) for rate in torch.linspace(0, 0.3, 4)]
        self.register_buffer("mask", torch.triu(torch.ones(5, 5), 1), persistent=False)
        self.register_buffer("times", torch.arange(4, device=self.embed.weight.device))
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embed.weight
        nn.init.trunc_normal_(self.place, std=0.1)
        self.square = nn.Linear(6, 6)
        nn.init.orthogonal_(self.square.weight)
        self.gain = nn.Parameter(torch.ones(4) * self.square.weight.abs().mean().item())

    def init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.xavier_uniform_(module.weight)
                module.bias.data.fill_(0.1)
                module.bias.data[0] = 7
        with torch.no_grad():
            self.layers[0][0].weight.mul_(2)
            self.layers[1][0].weight.copy_(self.layers[0][0].weight)
            self.square.weight[1:3] = torch.from_numpy(self.square.weight.detach().numpy()[3:5] * 2)
        self.conv.bias.data = torch.full((4,), 3.0)


@MODELS.register_module()
class DeepModel(BaseModel):
    """Layers of equal size."""

    def __init__(self, dtype: str = "float32") -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH, dtype=getattr(torch, dtype)) for _ in range(DEPTH))

    def forward(self, inputs: Any, mode: str = "tensor") -> Any:
        for layer in self.layers:
            inputs = layer(inputs)
        return {"loss": inputs.square().mean()} if mode == "loss" else inputs


def whole_state(model: nn.Module) -> dict[str, torch.Tensor]:
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: dist.whole(value.detach()).clone() for name, value in state.items()}


def as_one_process(folder: Path) -> dict[str, torch.Tensor]:
    strategy = SingleDeviceStrategy(work_dir=folder, env_kwargs=SEED)
    strategy.prepare(dict(MODEL))
    return {**whole_state(strategy.model), "drawn": torch.rand(3)}


def by_parts(folder: Path, settings: dict[str, Any]) -> dict[str, torch.Tensor]:
    strategy = FSDPStrategy(work_dir=folder, init_on="meta", wrap=["layers.*"], **settings)
    strategy.prepare(dict(MODEL))
    assert strategy.model.head.weight is strategy.model.embed.weight
    return {**whole_state(strategy.model), "drawn": torch.rand(3)}


@pytest.mark.parametrize("n_ranks", [1, 2, pytest.param(3, marks=pytest.mark.conformance)])
def test_every_number_is_what_one_process_draws(tmp_path: Path, n_ranks: int) -> None:
    (one,) = in_ranks(1, as_one_process_without_a_group, tmp_path / "one")
    for found in in_ranks(n_ranks, by_parts, tmp_path / "parts", {"env_kwargs": SEED}):
        assert list(found) == list(one)
        assert [name for name in one if not torch.equal(found[name], one[name])] == []


def as_one_process_without_a_group(folder: Path) -> dict[str, torch.Tensor]:
    torch.distributed.destroy_process_group()
    return as_one_process(folder)


def test_ranks_with_streams_of_their_own_draw_weights_from_the_first(tmp_path: Path) -> None:
    settings = {"env_kwargs": {"randomness": {"seed": 3, "diff_rank_seed": True}}}
    first, second = in_ranks(2, by_parts, tmp_path, settings)
    drawn = [first.pop("drawn"), second.pop("drawn")]
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert not torch.equal(*drawn)


def memory_of(folder: Path) -> tuple[int, int, int]:
    strategy = FSDPStrategy(work_dir=folder, init_on="meta", wrap=["layers.*"])
    most = [0]
    inner = InitByParts._keep

    def kept(self: InitByParts, used: Any) -> None:
        inner(self, used)
        own = sum(p._storage.nbytes() + (0 if p._part is None else p._part.nbytes) for p in self._known.values())
        most[0] = max(most[0], own)

    InitByParts._keep = kept  # type: ignore[method-assign]
    strategy.prepare({"type": "DeepModel"})
    own = sum(dist.local(p.detach()).nbytes for p in strategy.model.parameters())
    assert strategy._parts is not None
    assert strategy._parts._known == {}
    return most[0], strategy._parts.most_bytes, own


def test_a_rank_holds_one_parameter_whole_and_its_part_of_the_others(tmp_path: Path) -> None:
    one, all_bytes = 4 * WIDTH * WIDTH, 4 * DEPTH * (WIDTH * WIDTH + WIDTH)
    for most, whole, own in in_ranks(2, memory_of, tmp_path):
        assert whole == one
        assert most <= all_bytes / 2 + one
        assert own == all_bytes / 2


def read_of_a_step(folder: Path) -> list[int]:
    adam = {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 0.01}}
    kwargs = {"init_on": "meta", "wrap": ["layers.*"]}
    first = FSDPStrategy(work_dir=folder, **kwargs)
    first.prepare({"type": "DeepModel"}, optim_wrapper=dict(adam))
    first.train_step({"inputs": torch.ones(2, WIDTH)})
    step = os.fspath(folder / "iter_1")
    first.save_checkpoint(step, layout="folder")
    weights = whole_state(first.model)
    momenta = [dist.whole(values["exp_avg"]) for values in first.optim_wrapper.optimizer.state.values()]

    n_read: list[int] = []
    tensor = OpenFiles.tensor

    def counted(self: OpenFiles, *args: Any) -> torch.Tensor:
        before = self.n_bytes_read
        found = tensor(self, *args)
        n_read.append(self.n_bytes_read - before)
        return found

    OpenFiles.tensor = counted  # type: ignore[method-assign]
    other = FSDPStrategy(work_dir=folder / "other", skip_init_weights=True, **kwargs)
    other.prepare({"type": "DeepModel"}, optim_wrapper=dict(adam))
    assert all(bool(dist.local(p.detach()).isnan().all()) for p in other.model.parameters())
    other.resume(step)
    loaded = whole_state(other.model)
    assert all(torch.equal(weights[name], loaded[name]) for name in weights)
    found = [dist.whole(values["exp_avg"]) for values in other.optim_wrapper.optimizer.state.values()]
    assert all(torch.equal(*pair) for pair in zip(found, momenta, strict=True))
    return n_read


def test_a_rank_reads_its_own_part_of_a_step_folder(tmp_path: Path) -> None:
    n_all = 3 * 4 * DEPTH * (WIDTH * WIDTH + WIDTH)  # weights and two states of AdamW
    for n_read in in_ranks(2, read_of_a_step, tmp_path):
        assert n_all / 2 <= sum(n_read) < n_all / 2 + 200
        assert max(n_read) == 4 * WIDTH * WIDTH / 2


def refusals(folder: Path) -> list[str]:
    found = []
    for model in (nn.Linear(2, 2), {"type": "MetaBuffer"}):
        with pytest.raises(ConfigError) as caught:
            FSDPStrategy(work_dir=folder, init_on="meta").prepare(model)
        found.append(str(caught.value))
    return found


@MODELS.register_module()
class MetaBuffer(nn.Module):
    """What it draws cannot be known."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("scale", torch.ones(2, device="meta"))


def test_what_cannot_be_done_by_parts_is_refused(tmp_path: Path) -> None:
    built, buffer = in_ranks(1, refusals, tmp_path)[0]
    assert "builds the model by itself, and was given one that is there: give the config of Linear" in built
    assert "init_on='meta': the buffer 'scale' of MetaBuffer lies on the meta device" in buffer
