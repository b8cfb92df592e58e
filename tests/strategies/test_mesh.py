"""The grid of ranks: names, order and sizes of its sides."""

from __future__ import annotations

from typing import Any

import pytest

from trainwright.base.errors import ConfigError
from trainwright.strategies.mesh import device_mesh, shard_size
from trainwright.testing.ranks import run_ranks


def sides(**sizes: Any) -> tuple[dict[str, int], list[int]]:
    mesh = device_mesh("cpu", **sizes)
    names = mesh.mesh_dim_names or ()
    return dict(zip(names, mesh.shape, strict=True)), [mesh.get_local_rank(name) for name in names]


def test_only_long_sides_are_dimensions_and_the_last_changes_fastest() -> None:
    found = run_ranks(4, sides_of_four)
    assert [rank[0][0] for rank in found] == [{"replicate": 2, "shard": 2}] * 4
    assert [rank[0][1] for rank in found] == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert found[3][1] == ({"shard": 2, "tensor": 2}, [1, 1])
    assert found[3][2] == ({"shard": 4}, [3])


def sides_of_four() -> list[Any]:
    return [sides(replicate=2, shard=2), sides(shard=2, tensor=2), sides(shard=4)]


def test_a_world_of_one_is_a_shard() -> None:
    assert run_ranks(1, sides) == [({"shard": 1}, [0])]


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ({"shard": 3}, "the mesh replicate=1 x shard=3 x tensor=1 is for 3 ranks, and this run has 1"),
        ({"tensor": 0}, "tensor=0, and it must be a whole number of ranks, at least 1"),
        ({"replicate": True}, "replicate=True, and it must be"),
    ],
)
def test_sizes_that_do_not_fit_are_named(sizes: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        device_mesh("cpu", **sizes)


def test_what_is_left_to_shard_over() -> None:
    assert shard_size() == 1
    with pytest.raises(ConfigError, match="replicate=2 x tensor=1 does not divide the 1 ranks"):
        shard_size(replicate=2)
    with pytest.raises(ConfigError, match="tensor='2' must be a whole number"):
        shard_size(tensor="2")  # type: ignore[arg-type]
