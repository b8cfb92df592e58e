"""The plan of tensor parallelism: what is refused, with what words, and what becomes of weights it does not name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Partial, Replicate, Shard
from torch.distributed.tensor.parallel import ColwiseParallel

from trainwright import Runner, dist
from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.strategies import parallelize
from trainwright.strategies.replicas import check_replicas
from trainwright.strategies.tensor_plan import Divide, check_fit, check_heads, matched, read_plan
from trainwright.testing.ranks import run_ranks
from trainwright.testing.toy_transformer import PLAN, ToyTransformer
from trainwright.testing.toys import toy_config


def test_styles_by_name_by_dict_and_as_objects() -> None:
    style = ColwiseParallel()
    entries = read_plan(
        {
            "a": "colwise_gather",
            "b": {"type": "RowwiseParallel", "output_layouts": "Shard(1)", "use_local_output": False},
            "c": [style, {"type": "Divide", "attributes": "n_heads"}],
            "d": {
                "type": "PrepareModuleInput",
                "input_kwarg_layouts": {"x": "partial"},
                "desired_input_kwarg_layouts": {"x": "replicate"},
            },
        }
    )
    assert [entry.pattern for entry in entries] == ["a", "b", "c", "c", "d"]
    assert entries[0].style.output_layouts == (Replicate(),)
    assert (entries[1].style.output_layouts, entries[1].style.use_local_output) == ((Shard(1),), False)
    assert entries[2].style is style
    assert entries[3].style == Divide(("n_heads",))
    assert entries[4].style.input_kwarg_layouts == {"x": Partial()}


@pytest.mark.parametrize(
    ("plan", "kind", "text"),
    [
        ([("a", "colwise")], ConfigTypeError, "must be a dict of patterns of module names"),
        ({}, ConfigError, "the plan is empty, so nothing would be divided"),
        ({3: "colwise"}, ConfigTypeError, "has the key 3"),
        ({"a": "colwize"}, ConfigError, "which is none of colwise, .*Did you mean 'colwise'"),
        ({"a": "loss_parallel"}, ConfigError, "not offered.*'colwise_gather'"),
        ({"a": 3}, ConfigTypeError, "a style is a name, such as 'colwise', or a dict with a type"),
        ({"a": {"type": "ColwiseParalel"}}, ConfigError, "Did you mean 'ColwiseParallel'"),
        (
            {"a": {"type": "ColwiseParallel", "output_layout": "replicate"}},
            ConfigError,
            "Did you mean 'output_layouts'",
        ),
        (
            {"a": {"type": "ColwiseParallel", "input_layouts": "shard1"}},
            ConfigError,
            r"is 'shard1', and a layout is .* Did you mean .*'shard\(1\)'",
        ),
        ({"a": {"type": "Divide", "names": ["n"]}}, ConfigError, "has no setting 'names'; it takes attributes"),
        ({"a": {"type": "PrepareModuleInput", "input_layouts": ["replicate"]}}, ConfigError, "cannot be made"),
    ],
)
def test_what_is_no_plan(plan: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        read_plan(plan)


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)
        self.limited = nn.Embedding(8, 4, max_norm=1.0)
        self.table = nn.Embedding(10, 6)
        self.norm = nn.LayerNorm(8)
        self.part = nn.Sequential(nn.Linear(8, 6))
        self.computed = torch.nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
        self.qkv, self.n_heads = nn.Linear(8, 24), 3


def fit(plan: dict[str, Any], size: int, model: nn.Module | None = None) -> list[str]:
    model = model or Odd()
    found = matched(model, read_plan(plan))
    check_fit(model, found, size)
    return check_heads(model, found, size)


@pytest.mark.parametrize(
    ("plan", "size", "text"),
    [
        ({"tabel": "embedding"}, 2, "Odd has no module of such a name.*Did you mean 'table'"),
        ({"table.weight": "colwise"}, 2, "no module of such a name"),
        (
            {"part.0": "colwise", "part.*": "rowwise"},
            2,
            r"says twice .* of 'part.0': 'part.0' \(colwise\) and 'part.\*'",
        ),
        ({"attention.out_proj": "rowwise"}, 2, "a part of nn.MultiheadAttention, which uses its weights without"),
        ({"norm": "colwise"}, 2, "which is for nn.Linear or nn.Embedding, and it is of the class LayerNorm"),
        ({"part": "colwise"}, 2, "of the class Sequential. There are part.0 inside it"),
        ({"part.0": "embedding"}, 2, "which is for nn.Embedding, and it is of the class Linear"),
        ({"table": "rowwise"}, 2, "'embedding' divides rows, 'colwise' columns"),
        ({"limited": "embedding"}, 2, "has max_norm=1.0 and sparse=False"),
        ({"computed": "colwise"}, 2, "computed from others"),
        ({"part.0": "colwise"}, 4, "part.0 has out_features=6, which 4 ranks cannot share evenly: choose a size"),
        ({"part.0": "rowwise"}, 3, "part.0 has in_features=8, which 3 ranks cannot"),
        ({"table": "colwise"}, 4, "table has embedding_dim=6, which 4"),
        ({"qkv": "colwise"}, 2, "Odd has n_heads=3, and 2 ranks would cut its heads"),
    ],
)
def test_what_does_not_fit_the_model(plan: dict[str, Any], size: int, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        fit(plan, size)


def test_rows_of_a_table_and_gathered_outputs_need_not_divide() -> None:
    assert fit({"table": "embedding", "part.0": "colwise_gather"}, 4) == []


def test_heads_that_nobody_divides_are_told() -> None:
    model = ToyTransformer()
    assert fit(PLAN, 2, model) == []
    plan = {name: style for name, style in PLAN.items() if style != PLAN["layers.*.attention"]}
    (text,) = fit(plan, 2, model)
    assert "layers.0.attention has n_heads=4, and on each rank its projections give 2 of these" in text
    assert "{'layers.0.attention': dict(type='Divide', attributes=['n_heads'])}" in text
    assert fit({**plan, "layers.*.attention": {"type": "Divide"}}, 2, model) == []
    fused, heads = fit({"qkv": "colwise"}, 3)
    assert "qkv seems to be queries, keys and values in one" in fused
    assert "has n_heads=3" in heads


def test_numbers_that_cannot_be_divided() -> None:
    model = Odd()
    Divide(("n_heads",)).apply("", model, 3)
    assert model.n_heads == 1
    with pytest.raises(ConfigError, match="which has no whole number of that name.*Did you mean 'n_heads'"):
        Divide(("n_head",)).apply("", model, 3)
    model.n_heads = 3
    with pytest.raises(ConfigError, match="odd.n_heads=3 cannot be shared out to 2 ranks"):
        Divide(("n_heads",)).apply("odd", model, 2)


# -- with ranks --------------------------------------------------------------------------------------------------------


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
        self.head.weight = self.table.weight
        self.inner = nn.Linear(4, 4).requires_grad_(False)
        self.norm = nn.LayerNorm(4)
        self.again = self.norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.inner(self.table(x))))


def placed(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    mesh = init_device_mesh("cpu", (2,))
    for style in ("colwise_gather", "rowwise"):
        torch.manual_seed(0)
        try:
            model = parallelize(Tied(), mesh, {"table": "embedding", "head": style, "inner": "sequence"})
        except ConfigError as error:
            found["tied"] = str(error)
            continue
        found["is_tied"] = model.head.weight is model.table.weight
        found["placements"] = {name: str(param.placements) for name, param in model.named_parameters()}
        found["trained"] = [name for name, param in model.named_parameters() if param.requires_grad]
        found["seen"] = (type(model.norm).__name__, dist.is_sharded(model.norm.weight), model.again is model.norm)
    ignoring = {**_both(2), "ignored": ["second"]}
    for size, strategy in (
        ("ignored", ignoring),
        ("group", _alone(size=1)),
        ("all", _both(2)),
        ("none", _both(None)),
        ("word", _both(2, siz=1)),
    ):
        with pytest.raises(ConfigError) as error:
            Runner.from_cfg(toy_config(folder / size, strategy=strategy))
        found[size] = str(error.value)
    return found


def _alone(**settings: Any) -> dict[str, Any]:
    return {"type": "TensorParallelStrategy", "plan": {"first": "colwise"}, **settings}


def _both(size: int | None, **settings: Any) -> dict[str, Any]:
    cfg = {"plan": {"first": "colwise"}, **({"size": size} if size else {}), **settings}
    return {"type": "FSDPStrategy", "tensor_parallel": cfg}


def test_weights_are_of_one_kind_and_sizes_are_checked(tmp_path: Path) -> None:
    for found in run_ranks(2, placed, tmp_path):
        assert found["is_tied"]
        whole, rows = "(Replicate(),)", "(Shard(dim=0),)"
        assert found["placements"] == {
            "table.weight": rows,
            "inner.weight": whole,
            "inner.bias": whole,
            "norm.weight": whole,
            "norm.bias": whole,
        }
        assert found["trained"] == ["table.weight", "norm.weight", "norm.bias"]
        assert found["seen"] == ("LayerNorm", False, True)
        assert "table.weight, head.weight are one weight, and the plan divides them in different ways" in found["tied"]
        assert "makes 2 groups of these 2 ranks" in found["group"]
        assert "FSDPStrategy', tensor_parallel=dict(size=1" in found["group"]
        assert "makes one group of all ranks" in found["all"]
        assert "ignored=['second'] cannot be had with tensor_parallel" in found["ignored"]
        assert "tensor_parallel lacks size" in found["none"]
        assert "tensor_parallel has no setting 'siz'; it takes size" in found["word"]


def query_norms(folder: Path) -> tuple[str, float]:
    texts = []
    for plan in (PLAN, {**PLAN, "layers.*.attention.norm": "replicate_sum"}):
        cfg = toy_config(
            folder / str(len(texts)),
            model={"type": "ToyTransformer", "channels": 16, "norms": True},
            strategy={"type": "TensorParallelStrategy", "plan": plan},
        )
        try:
            Runner.from_cfg(cfg).train()
            texts.append("")
        except ConfigError as error:
            texts.append(str(error))
    return texts[0], float(len(texts[1]))


def test_copies_whose_gradients_differ_stop_the_run(tmp_path: Path) -> None:
    for text, length in run_ranks(2, query_norms, tmp_path):
        assert "different gradients for layers.0.attention.norm.weight, layers.0.attention.norm.bias" in text
        assert "'replicate_sum' sums their gradients over the ranks" in text
        assert length == 0.0


def overflowed() -> None:
    from torch.distributed.tensor import DTensor

    mesh = init_device_mesh("cpu", (2,))
    for gradient in (torch.full((3,), float("nan")), torch.full((3,), float("inf")), torch.zeros(3)):
        param = nn.Parameter(DTensor.from_local(torch.ones(3), mesh, [Replicate()], run_check=False))
        param.grad = DTensor.from_local(gradient, mesh, [Replicate()], run_check=False)
        check_replicas({"a": param, "plain": nn.Parameter(torch.ones(1))}, mesh.get_group())


def test_gradients_that_overflowed_are_not_compared() -> None:
    run_ranks(2, overflowed)
