"""MMEngine's functions beside the collectives of plain tensors: containers, devices, parameters, local groups."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import distributed as torch_dist
from torch import nn

from trainwright import dist
from trainwright.base.errors import ConfigError, ConfigTypeError, LocalGroupError
from trainwright.dist.devices import sending_device
from trainwright.testing.ranks import run_ranks


class Pair(NamedTuple):
    one: torch.Tensor
    two: torch.Tensor


def data_of(rank: int) -> dict[str, Any]:
    return {
        "list": [torch.full((2,), rank + 1.0), torch.tensor(rank)],
        "pair": Pair(torch.ones(1, 2) * rank, torch.arange(6.0).view(2, 3).t() + rank),
        "tuple": ({"deep": torch.tensor([rank], dtype=torch.int64)},),
    }


def plain(data: Any) -> Any:
    if isinstance(data, torch.Tensor):
        return data.tolist()
    if isinstance(data, dict):
        return {key: plain(value) for key, value in data.items()}
    return (type(data).__name__, [plain(value) for value in data])


def exchanged() -> Any:
    rank = dist.get_rank()
    reduced, broadcasted = data_of(rank), data_of(rank)
    weight = nn.Parameter(torch.full((2, 2), float(rank)))
    dist.all_reduce(reduced, "max")
    dist.broadcast(broadcasted, src=1)
    dist.all_reduce(weight, "mean")
    gathered, to_one = dist.all_gather(data_of(rank)), dist.gather(data_of(rank), dst=1)
    return [plain(data) for data in (reduced, broadcasted, gathered, to_one)], weight.tolist()


def test_containers_of_tensors() -> None:
    zero, one = plain(data_of(0)), plain(data_of(1))
    (first, weight), (second, _) = run_ranks(2, exchanged)
    assert first[0] == second[0] == one  # the larger of each
    assert first[1] == second[1] == one
    assert first[2] == second[2] == ("list", [zero, one])
    assert (first[3], second[3]) == (("list", []), ("list", [zero, one]))
    assert weight == [[0.5, 0.5], [0.5, 0.5]]


def test_the_same_without_a_group() -> None:
    data = data_of(3)
    expected = plain(data)
    dist.all_reduce(data)
    dist.broadcast(data)
    assert plain(data) == expected
    assert dist.all_gather(data)[0] is data
    assert dist.gather(data)[0] is data
    dist.all_reduce_dict(data["tuple"][0])
    dist.all_reduce_params([data["pair"].one])
    assert plain(data) == expected
    assert dist.collect_results_cpu([1, 2], 1) == dist.collect_results_gpu([1, 2], 1) == [1]
    dist.init_local_group(0, 1)
    assert (dist.get_backend(), dist.get_default_group(), dist.get_local_group()) == (None, None, None)
    assert (dist.get_local_rank(), dist.get_local_size()) == (0, 1)
    assert dist.get_comm_device() == torch.device("cpu")


def reduced_params(coalesce: bool, bucket_size_mb: int) -> Any:
    rank = dist.get_rank()
    torch.manual_seed(rank)
    params = [nn.Parameter(torch.randn(300, 400)), nn.Parameter(torch.randn(300, 400)), torch.tensor([rank + 2])]
    params += [nn.Parameter(torch.randn(2, 3).t()), nn.Parameter(torch.randn(5, dtype=torch.float64))]
    before = [param.detach().clone() for param in params]
    dist.all_reduce_params((param for param in params), coalesce, bucket_size_mb, "mean")
    return before, [param.detach() for param in params]


@pytest.mark.parametrize(("coalesce", "bucket_size_mb"), [(True, -1), (True, 1), (False, -1)])
def test_parameters_are_reduced_in_place(coalesce: bool, bucket_size_mb: int) -> None:
    (one, found), (two, other) = run_ranks(2, reduced_params, coalesce, bucket_size_mb)
    for a, b, first, second in zip(one, two, found, other, strict=True):
        expected = (a + b) / 2 if a.is_floating_point() else (a + b) // 2
        assert torch.equal(first, expected)
        assert torch.equal(second, expected)


def reduced_dict() -> Any:
    rank = dist.get_rank()
    data = {"b": torch.tensor([2**40 + rank]), "a": torch.full((2, 2), rank + 0.5)}
    before = dict(data)
    dist.all_reduce_dict(data if rank else dict(sorted(data.items())))
    dist.all_reduce_dict(data, "sum")
    return data, before["a"]


def test_a_dict_keeps_types_and_the_tensors_that_were_there() -> None:
    second, kept = run_ranks(2, reduced_dict)[1]
    assert second["b"].dtype == torch.int64
    assert second["b"].item() == 2**41 + 1 + 2**40  # of rank 1 twice: the sum of both, and rank 0's own
    assert kept.tolist() == [[1.5, 1.5], [1.5, 1.5]]


def local_groups() -> Any:
    with pytest.raises(LocalGroupError, match="no local process group yet: call `init_local_group"):
        dist.get_local_rank()
    with pytest.raises(ConfigError, match="num_gpus_per_node=3 does not divide the 4 ranks of this run"):
        dist.init_local_group(0, 3)
    rank = dist.get_rank()
    with pytest.raises(ConfigError, match=f"and this is rank {rank}: it is on node {rank // 2}"):
        dist.init_local_group(1 - rank // 2, 2)
    dist.init_local_group(rank // 2, 2)
    with pytest.raises(ConfigError, match="init_local_group was called before"):
        dist.init_local_group(rank // 2, 2)
    data = torch.tensor(rank)
    dist.all_reduce(data, group=dist.get_local_group())
    gathered = dist.gather(data, dst=rank // 2 * 2, group=dist.get_local_group())
    seed = dist.sync_random_seed(dist.get_local_group())
    same = dist.all_gather_object(seed, dist.get_local_group())
    return dist.get_local_rank(), dist.get_local_size(), data.item(), len(gathered), len(set(same)), dist.get_backend()


def test_local_groups() -> None:
    found = run_ranks(4, local_groups)
    assert found == [(0, 2, 1, 2, 1, "gloo"), (1, 2, 1, 0, 1, "gloo"), (0, 2, 5, 2, 1, "gloo"), (1, 2, 5, 0, 1, "gloo")]


@pytest.mark.parametrize(
    ("backends", "device", "expected"),
    [
        ("cpu:gloo,cuda:nccl", "cpu", "cpu"),
        ("cpu:gloo,cuda:nccl", "cuda:1", "cuda:1"),
        ("cpu:gloo,cuda:gloo", "cuda:1", "cpu"),
        ("cuda:nccl", "cpu", "cuda:2"),
        ("cpu:gloo", "mps", "cpu"),
    ],
)
def test_data_goes_by_way_of_a_device_that_the_backend_has(
    monkeypatch: pytest.MonkeyPatch, backends: str, device: str, expected: str
) -> None:
    monkeypatch.setattr(torch_dist, "get_backend_config", lambda group: backends)
    monkeypatch.setattr("trainwright.dist.devices.get_backend", lambda group: backends)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    assert sending_device(torch.device(device)) == torch.device(expected)


def test_data_is_moved_between_devices() -> None:
    data = {"a": [torch.ones(2), torch.zeros(1)], "b": Pair(torch.ones(1), torch.ones(3))}
    moved = dist.cast_data_device(data, torch.device("meta"))
    assert {moved["a"][0].device.type, moved["b"].two.device.type} == {"meta"}
    assert dist.get_data_device(data) == torch.device("cpu")
    out = {"b": Pair(torch.zeros(1), torch.zeros(3)), "a": [torch.zeros(2), torch.ones(1)]}
    same = dist.cast_data_device(data, torch.device("cpu"), out)
    assert plain(out) == plain(data) == plain(same)
    assert same["a"][0] is data["a"][0]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: dist.get_data_device([]), ConfigError, "data should not be empty: there is no tensor in []"),
        (
            lambda: dist.get_data_device([torch.ones(1), torch.ones(1, device="meta")]),
            ConfigError,
            "lie on cpu, meta: their device type should be consistent",
        ),
        (lambda: dist.get_data_device("abc"), ConfigTypeError, "or a list, tuple or dict of tensors, but got 'abc'"),
        (lambda: dist.cast_data_device([], "cpu"), ConfigError, "data should not be empty"),
        (lambda: dist.cast_data_device(np.ones(2), "cpu"), ConfigTypeError, "list, tuple or dict of tensors, but got"),
        (
            lambda: dist.cast_data_device([torch.ones(1)], "cpu", (torch.ones(1),)),
            ConfigTypeError,
            "out should be of the type of data, but data is list and out tuple",
        ),
        (lambda: dist.cast_data_device({torch.ones(1)}, "cpu", {1}), ConfigTypeError, "out should not be a set"),
        (
            lambda: dist.cast_data_device([torch.ones(1)], "cpu", []),
            ConfigError,
            "length of data and out should be the same, but got 1 and 0",
        ),
        (
            lambda: dist.cast_data_device({"a": torch.ones(1)}, "cpu", {"b": torch.ones(1)}),
            ConfigError,
            "data has the key 'a', which out lacks; it has 'b'",
        ),
        (lambda: dist.broadcast_object_list((1,)), ConfigTypeError, "but got tuple: give it [data]"),  # type: ignore[arg-type]
        (lambda: dist.all_reduce_dict([1]), ConfigTypeError, "takes a dict of tensors, but got list"),  # type: ignore[arg-type]
    ],
)
def test_refused(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        call()
