"""What all loops share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from trainwright.base.errors import ConfigError, ConfigTypeError


class BaseLoop(ABC):
    """A loop orders spans of iterations; it is made by the runner with ``runner`` and a data loader or its config.

    API of mmengine.runner.BaseLoop. ``runner`` gives the context (``ctx``), the model, the step functions of its
    strategy and the other loops; a subclass may use anything public of it.
    """

    def __init__(self, runner: Any, dataloader: Any) -> None:
        self._runner = runner
        self.dataloader: Any = build_loader(runner, dataloader)

    @property
    def runner(self) -> Any:
        """The front door that this loop runs for."""
        return self._runner

    @abstractmethod
    def run(self) -> Any:
        """Run the loop to its end."""


def build_loader(runner: Any, dataloader: Any) -> Any:
    """A loader from its config, with the run's randomness; whatever is no config is returned as it is."""
    if not isinstance(dataloader, dict):
        return dataloader
    settings = dict(runner._randomness_cfg)
    kwargs = {"diff_rank_seed": settings.get("diff_rank_seed", False)}
    if not settings.get("keyed", True):
        kwargs["keyed"] = False
    return runner.build_dataloader(dataloader, seed=runner.seed, **kwargs)


def length_or_none(loader: Any) -> int | None:
    """The number of batches, None for a loader that does not know it."""
    try:
        return len(loader)
    except TypeError:
        return None


def no_batch_error() -> ConfigError:
    """What to raise for a training loader that gives nothing."""
    return ConfigError(
        "train_dataloader has no batch: its dataset is empty, or smaller than one batch with drop_last=True, or it can "
        "be read only once."
    )


def positive_int(value: Any, name: str) -> int:
    """``value`` as a positive whole number, or a ConfigError that names the setting."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value % 1 != 0:
        raise ConfigTypeError(f"{name} must be a whole number, but got {value!r}. Set train_cfg=dict({name}=...).")
    if value <= 0:
        raise ConfigError(f"{name} must be at least 1, but got {value}. Set train_cfg=dict({name}=...).")
    return int(value)
