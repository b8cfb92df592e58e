"""What the strategies that train in several processes share."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

from trainwright import dist
from trainwright.base.errors import ConfigError
from trainwright.strategies.apart import exchange
from trainwright.strategies.base import BaseStrategy
from trainwright.strategies.environment import default_device


class RanksStrategy(BaseStrategy):
    """A strategy of several processes, one a device; they are this run's process group.

    It is joined as the launcher says, a torchrun around the program is found without being named, and a group that
    exists is taken as it is. The arguments are those of :class:`BaseStrategy`.
    """

    def __init__(self, *, env_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        env = dict(env_kwargs or {})
        if env.get("launcher") in (None, "none") and not dist.is_distributed():
            env["launcher"] = dist.infer_launcher()
            if env["launcher"] == "none":
                raise ConfigError(
                    f"{type(self).__name__} trains in several processes, and there is this one alone: start the "
                    "program with `torchrun --nproc-per-node 2 ...` and launcher='pytorch', or take "
                    "SingleDeviceStrategy."
                )
        super().__init__(env_kwargs=env, **kwargs)

    @property
    def distributed(self) -> bool:
        """Whether there is a process group; here always."""
        return True

    @property
    def device(self) -> torch.device:
        """The device of this process, asked for once."""
        if not hasattr(self, "_device"):
            if torch.cuda.is_available() and self.launcher == "none":  # nobody has chosen one yet
                local_rank = int(os.environ.get("LOCAL_RANK", self.rank))
                torch.cuda.set_device(local_rank % torch.cuda.device_count())
            self._device = default_device()
        return self._device

    def _connect_optimizers(self, clip_grads: Any = None) -> None:
        """Give every optimizer wrapper that has none of its own the functions for gradients on several ranks."""
        for wrapper in self._wrappers():
            if getattr(wrapper, "exchange_grads", self) is None:
                wrapper.exchange_grads = self.exchange_gradients
            if getattr(wrapper, "grad_sync", self) is None:
                wrapper.grad_sync = self.grad_sync
            if clip_grads is not None and getattr(wrapper, "clip_grads", self) is None:
                wrapper.clip_grads = clip_grads

    def exchange_gradients(self, params: list[nn.Parameter]) -> None:
        """The mean over all ranks in place of gradients that each rank has of its own: of a window whose last loss,
        which would have done it, is left out. All ranks call this."""
        exchange(params)

    def init_model_weights(self) -> None:
        """``init_weights()`` on every rank, then rank 0's result on all."""
        super().init_model_weights()
        self._equalise(self.unwrapped_model)

    @staticmethod
    def _equalise(model: nn.Module) -> None:
        """Rank 0's weights and buffers on all ranks, whose random streams may differ."""
        for value in model.state_dict().values():
            if isinstance(value, torch.Tensor):
                dist.broadcast(value)
