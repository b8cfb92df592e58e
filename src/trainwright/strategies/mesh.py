"""The ranks of a run as a grid, of which every way to place parameters takes the sides that it divides over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainwright import dist
from trainwright.base.errors import ConfigError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

DIMS = ("replicate", "shard", "tensor")


def device_mesh(device_type: str, replicate: int = 1, shard: int = 1, tensor: int = 1) -> DeviceMesh:
    """All ranks of the run in a grid of ``replicate`` x ``shard`` x ``tensor``; all of them call this together.

    Only sides longer than 1 are dimensions of it, under these names and in this order; the last one changes fastest,
    so that ranks of a tensor group are neighbours. A world of one rank is ``("shard",)`` of size 1.
    """
    from torch.distributed.device_mesh import init_device_mesh

    sides = dict(zip(DIMS, (replicate, shard, tensor), strict=True))
    for name, size in sides.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ConfigError(f"a mesh has {name}={size!r}, and it must be a whole number of ranks, at least 1.")
    world_size = dist.get_world_size()
    if replicate * shard * tensor != world_size:
        product = " x ".join(f"{name}={size}" for name, size in sides.items())
        raise ConfigError(
            f"the mesh {product} is for {replicate * shard * tensor} ranks, and this run has {world_size}: "
            "start so many processes, or change one of the three."
        )
    long = {name: size for name, size in sides.items() if size > 1} or {"shard": 1}
    return init_device_mesh(device_type, tuple(long.values()), mesh_dim_names=tuple(long))


def shard_size(replicate: int = 1, tensor: int = 1) -> int:
    """The ranks that are left to divide parameters over, when so many groups are copies and tensor groups so large."""
    world_size = dist.get_world_size()
    for name, size in (("replicate", replicate), ("tensor", tensor)):
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ConfigError(f"{name}={size!r} must be a whole number of ranks, at least 1.")
    shard, left = divmod(world_size, replicate * tensor)
    if left or not shard:
        raise ConfigError(
            f"replicate={replicate} x tensor={tensor} does not divide the {world_size} ranks of this run: "
            "their product must be a divisor of the number of processes."
        )
    return shard
