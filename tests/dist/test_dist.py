"""Ranks, collectives and the gathering of results, alone and with real gloo ranks."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from trainwright import dist
from trainwright.base.errors import ConfigError, DataError
from trainwright.testing.ranks import run_ranks


def test_one_process_without_a_group():
    assert dist.get_dist_info() == (0, 1)
    assert dist.is_main_process()
    assert not dist.is_distributed()
    dist.barrier()
    assert dist.all_gather_object({"a": 1}) == [{"a": 1}]
    assert dist.gather_object(3) == [3]
    objects = [1, "x"]
    dist.broadcast_object_list(objects)
    assert objects == [1, "x"]
    tensor = torch.tensor([3.0])
    dist.all_reduce(tensor, "mean")
    assert tensor.item() == 3.0
    assert dist.collect_results([1, 2, 3], 2) == [1, 2]
    assert dist.master_only(lambda: 5)() == 5


def test_sync_random_seed_follows_numpys_stream():
    np.random.seed(7)
    expected = int(np.random.randint(2**31))
    np.random.seed(7)
    assert dist.sync_random_seed() == expected


def test_unknown_reduce_op_and_device():
    with pytest.raises(ConfigError, match="no op 'avg'; op is one of sum, mean"):
        dist.all_reduce(torch.zeros(1), "avg")
    with pytest.raises(ConfigError, match="'cpu' or 'gpu', got 'tpu'"):
        dist.collect_results([], 0, device="tpu")
    with pytest.raises(ConfigError, match="tmpdir is for device='cpu'"):
        dist.collect_results([], 0, device="gpu", tmpdir="x")


def test_interleave_takes_parts_of_different_length():
    assert dist.interleave([[0, 2, 4], [1, 3]], 10) == [0, 1, 2, 3, 4]
    assert dist.interleave([[0, 2], [1, None]], 4) == [0, 1, 2, None]


def _ranks_at_work(tmpdir: str) -> dict[str, object]:
    rank = dist.get_rank()
    np.random.seed(rank)
    mean, product = torch.tensor([rank * 2.0]), torch.tensor([rank + 1])
    dist.all_reduce(mean, "mean")
    dist.all_reduce(product, "product")
    objects = [rank, "x" * rank]
    dist.broadcast_object_list(objects, src=1)
    mine = [torch.tensor(i) for i in range(rank, 6, 2)]
    return {
        "info": dist.get_dist_info(),
        "mean": mean.item(),
        "product": product.item(),
        "broadcast": objects,
        "gathered": dist.all_gather_object("r" * rank),
        "to_one": dist.gather_object(rank, dst=1),
        "seed": dist.sync_random_seed(),
        "results": [int(t) for t in dist.collect_results(mine, 5) or []],
        "files": [int(t) for t in dist.collect_results(mine, 5, tmpdir=tmpdir) or []],
        "only_main": dist.master_only(lambda: "ran")(),
    }


def test_two_ranks_agree(tmp_path):
    first, second = run_ranks(2, _ranks_at_work, str(tmp_path / "parts"))
    assert first["info"] == (0, 2)
    assert second["info"] == (1, 2)
    assert first["mean"] == second["mean"] == 1.0
    assert first["product"] == second["product"] == 2
    assert first["broadcast"] == second["broadcast"] == [1, "x"]
    assert first["gathered"] == second["gathered"] == ["", "r"]
    assert (first["to_one"], second["to_one"]) == (None, [0, 1])
    assert first["seed"] == second["seed"]
    assert (first["results"], second["results"]) == ([0, 1, 2, 3, 4], [])
    assert (first["files"], second["files"]) == ([0, 1, 2, 3, 4], [])
    assert (first["only_main"], second["only_main"]) == ("ran", None)
    assert os.listdir(tmp_path) == []


class Opaque:
    pass


def _pass_opaque_through_files(tmpdir: str) -> str:
    try:
        dist.collect_results([Opaque()], 2, tmpdir=tmpdir)
    except DataError as error:
        return str(error)
    return ""


def test_results_in_files_are_plain_data(tmp_path):
    first, second = run_ranks(2, _pass_opaque_through_files, str(tmp_path / "parts"))
    assert "tensors and plain data only" in first
    assert "drop tmpdir (collect_dir)" in first
    assert second == ""
    assert os.listdir(tmp_path) == []


def _pass_through_files(tmpdir: str) -> list[int] | None:
    return dist.collect_results([dist.get_rank()], 2, tmpdir=tmpdir)


def test_a_folder_of_results_that_is_a_link_stays(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "scratch")
    assert run_ranks(2, _pass_through_files, str(tmp_path / "link")) == [[0, 1], None]
    assert sorted(os.listdir(tmp_path)) == ["link", "scratch"]
    assert os.listdir(tmp_path / "scratch") == []
