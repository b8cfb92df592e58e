"""Optimizer states shared out among the ranks: ZeRO, stage 1 (Rajbhandari et al. 2020)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.distributed import is_available, is_initialized
from torch.optim import Optimizer

from trainwright import dist
from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.lazy import LazyObject
from trainwright.registry import OPTIMIZERS

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torch scripts the other optimizers of that package
    from torch.distributed.optim import ZeroRedundancyOptimizer as _ZeroRedundancyOptimizer


class ZeroRedundancyOptimizer(_ZeroRedundancyOptimizer):
    """torch's ``ZeroRedundancyOptimizer`` over an optimizer that is given by name: each rank keeps the state of its
    share of the parameters, updates them, and sends them to the others.

    ``optimizer_type``: a name of the OPTIMIZERS registry, or a class. The other arguments go to torch's class, and from
    there to that optimizer.
    """

    def __init__(
        self, params: Iterable[Tensor | dict[str, Any]], optimizer_type: str | type[Optimizer], **kwargs: Any
    ) -> None:
        if not (is_available() and is_initialized()):
            raise ConfigError(
                "ZeroRedundancyOptimizer shares the optimizer's state out among ranks, and there is no process group: "
                f"start the run with a launcher, or use type={optimizer_type!r} itself"
            )
        kind: Any = optimizer_type.build() if isinstance(optimizer_type, LazyObject) else optimizer_type
        if isinstance(kind, str):
            kind = OPTIMIZERS.resolve(kind)
        if not (isinstance(kind, type) and issubclass(kind, Optimizer)) or issubclass(kind, _ZeroRedundancyOptimizer):
            raise ConfigTypeError(
                f"optimizer_type must be an optimizer's name, such as 'AdamW', or its class, got {optimizer_type!r}"
            )
        super().__init__(list(params), kind, **kwargs)

    def state_dict(self) -> dict[str, Any]:
        """The whole state, on rank 0; ``{}`` on the others. Every rank must call it: they send their shares."""
        self.consolidate_state_dict(to=0)
        return super().state_dict() if dist.get_rank() == 0 else {}
