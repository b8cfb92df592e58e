"""The data axis: which ranks work on different samples.

With tensor parallelism the ranks of a tensor group compute parts of one forward, so they must see the same batch. What
divides data among ranks, or brings together what was found of each sample, asks here; who writes, stops or fails is a
matter of processes, and asks :mod:`~trainwright.dist.process`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import distributed as torch_dist

from trainwright.base.errors import ConfigError
from trainwright.dist.process import get_dist_info, get_rank, get_world_size

_axis: torch_dist.ProcessGroup | None = None
_made: dict[int, tuple[Any, torch_dist.ProcessGroup]] = {}  # by size of a tensor group: the world then, and the group


def data_group() -> torch_dist.ProcessGroup | None:
    """The ranks that hold the same part of the model as this one, and see other samples. None: all ranks do."""
    return _axis


def data_info(group: torch_dist.ProcessGroup | None = None) -> tuple[int, int]:
    """(rank, size) among those who divide the data: in `group`, by default the data axis. One process: (0, 1)."""
    return get_dist_info(_axis if group is None else group)


def has_main() -> bool:
    """Whether rank 0 is among the ranks of this one's data axis; of the other axes every result is a copy."""
    return _axis is None or torch_dist.get_process_group_ranks(_axis)[0] == 0


def set_data_axis(group: torch_dist.ProcessGroup | None) -> None:
    """Divide the data among the ranks of `group`, whose first one is the data rank 0; None among all ranks.

    A strategy calls this as soon as there is a process group, before anything is built that asks.
    """
    global _axis
    _axis = group


def data_axis(tensor_size: int) -> torch_dist.ProcessGroup | None:
    """The group for :func:`set_data_axis` where every `tensor_size` neighbouring ranks see the same samples.

    All ranks call this. Data rank d has the ranks d * tensor_size to (d + 1) * tensor_size - 1.
    """
    world_size = get_world_size()
    if isinstance(tensor_size, bool) or not isinstance(tensor_size, int) or tensor_size < 1 or world_size % tensor_size:
        raise ConfigError(
            f"tensor groups of size={tensor_size!r} do not divide the {world_size} ranks of this run: their size must "
            "be a divisor of the number of processes."
        )
    if tensor_size == 1:
        return None
    world = torch_dist.group.WORLD
    if tensor_size not in _made or _made[tensor_size][0] is not world:
        columns = [list(range(first, world_size, tensor_size)) for first in range(tensor_size)]
        groups = [torch_dist.new_group(ranks) for ranks in columns]  # every rank makes every group
        _made[tensor_size] = (world, groups[get_rank() % tensor_size])
    return _made[tensor_size][1]


def is_same_layout(n_ranks: int, data_size: int | None) -> bool:
    """Whether so many ranks, of which so many saw different samples (None: all), shared the work as those of now do."""
    return (n_ranks, data_size or n_ranks) == (get_world_size(), data_info()[1])


def item_of_rank(items: Sequence[Any], data_size: int | None, any_will_do: bool) -> Any:
    """This rank's item of those that ranks have saved, `data_size` of them with different samples; None where none is.

    Where samples are shared in another way now, a rank takes the item of those who had its data rank. With
    `any_will_do` one whose data rank was not there takes that of another.
    """
    n_ranks = len(items)
    if not n_ranks or is_same_layout(n_ranks, data_size):
        return items[get_rank()] if items else None
    saved_size, (data_rank, _) = data_size or n_ranks, data_info()
    if any_will_do:
        data_rank %= saved_size
    return items[data_rank * (n_ranks // saved_size)] if data_rank < saved_size else None


def forget_axes() -> None:
    """The process group ends, and with it all that was made of it."""
    set_data_axis(None)
    _made.clear()
