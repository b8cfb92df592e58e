"""The losses of a step, put into the event storage without a host read; on several ranks gathered first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed as torch_dist

from trainwright import dist
from trainwright.trainer.events import EventStorage, get_event_storage
from trainwright.trainer.loss_check import LossCheck


@dataclass
class PendingLosses:
    """A row of each rank that is on its way: losses in the order of their names, which is the same on all ranks, and
    the time that data took. ``names`` are in the order of this rank's."""

    storage: EventStorage
    names: list[str]
    at: int
    prefix: str
    rows: list[torch.Tensor]
    work: Any

    def put(self) -> None:
        """Wait for the rows, and put the means over the ranks, and the longest time."""
        self.work.wait()
        rows = torch.stack(self.rows)
        means = rows[:, :-1].mean(0)
        self.storage.put_scalar("data_time", rows[:, -1].max(), cur_iter=self.at)
        found = dict(zip(sorted(self.names), means, strict=True))
        _put(self.storage, {name: found[name] for name in self.names}, means.sum(), self.at, self.prefix)


def put_losses(
    loss_dict: Mapping[str, Any],
    data_time: float,
    at: int,
    prefix: str = "",
    total: torch.Tensor | None = None,
    is_async: bool = False,
) -> PendingLosses | None:
    """Put losses, their sum (``total`` where it is known) and times. All ranks call this. With ``is_async`` what is
    still on its way is returned."""
    storage = get_event_storage()
    n_ranks = LossCheck.of(storage.metrics).n_ranks
    storage.put_scalar("rank_data_time", data_time, cur_iter=at)
    if n_ranks == 1:
        storage.put_scalar("data_time", data_time, cur_iter=at)
        _put(storage, loss_dict, sum(loss_dict.values()) if total is None else total, at, prefix)
        return None
    device = dist.get_comm_device()
    in_order = [loss_dict[name] for name in sorted(loss_dict)]
    losses = [torch.as_tensor(loss).detach().reshape(()).to(device, torch.float64) for loss in in_order]
    row = torch.stack([*losses, torch.full((), data_time, dtype=torch.float64, device=device)])
    rows = [torch.empty_like(row) for _ in range(n_ranks)]
    work = torch_dist.all_gather(rows, row, async_op=True)
    pending = PendingLosses(storage, list(loss_dict), at, prefix, rows, work)
    if is_async:
        return pending
    pending.put()
    return None


def _put(storage: EventStorage, losses: Mapping[str, Any], total: Any, at: int, prefix: str) -> None:
    name = f"{prefix}total_loss"
    storage.put_output(name, total, at)
    if len(losses) > 1:
        for own, loss in losses.items():
            storage.put_output(own, loss, at)
    LossCheck.of(storage.metrics).add(storage.prefix, name, losses)
