"""What all loops share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from trainwright.base.defaults import defaults
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
    kwargs = {"diff_rank_seed": dict(runner._randomness_cfg).get("diff_rank_seed", False)}
    if not is_keyed(runner):
        kwargs["keyed"] = False
    return runner.build_dataloader(dataloader, seed=runner.seed, **kwargs)


def is_keyed(runner: Any) -> bool:
    """Whether the data of a run is a function of its seed and the sample, and of nothing drawn before."""
    return bool(dict(getattr(runner, "_randomness_cfg", {})).get("keyed", defaults.keyed))


def length_or_none(loader: Any) -> int | None:
    """The number of batches, None for a loader that does not know it."""
    try:
        return len(loader)
    except TypeError:
        return None


def ends_by_itself(loader: Any) -> bool:
    """Whether a pass over ``loader`` surely has as many batches as its length says: samplers may be endless."""
    if not length_or_none(loader):
        return False
    parts = [getattr(loader, name, None) for name in ("sampler", "batch_sampler")]
    return all(
        part is None or getattr(part, "endless", None) is False or type(part).__module__.startswith("torch.")
        for part in parts
    )


def no_batch_error() -> ConfigError:
    """What to raise for a training loader that gives nothing."""
    return ConfigError(
        "train_dataloader has no batch: its dataset is empty, or smaller than one batch with drop_last=True, or it can "
        "be read only once."
    )


def limit_of(limit: int | float | None, name: str) -> int | float | None:
    """``limit_batches`` as it may be: a whole number of batches, a fraction of them, or None for all."""
    rule = f"{name} must be a whole number of batches of at least 1, or a fraction of them, above 0.0 and up to 1.0"
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, (int, float)):
        raise ConfigTypeError(f"{rule}, but got {limit!r}.")
    if limit <= 0 or (isinstance(limit, float) and not limit <= 1.0):
        hint = " To leave a part out, leave out its loader." if limit == 0 else ""
        raise ConfigError(f"{rule}, but got {limit!r}.{hint}")
    return limit


def limited_length(loader: Any, limit: int | float | None, name: str) -> int | None:
    """How many batches a pass over ``loader`` has under that limit; None where nobody knows. A fraction gives one at
    least.
    """
    length = length_or_none(loader)
    if limit is None or limit == 1.0 and isinstance(limit, float):
        return length
    if isinstance(limit, int):
        return limit if length is None else min(limit, length)
    if length is None:
        raise ConfigError(
            f"{name}={limit!r} is a share of the loader, and {type(loader).__name__} has no length. Give a whole "
            "number."
        )
    return max(int(length * limit), min(length, 1))


def pass_length(loop: Any) -> int | None:
    """How many batches a pass of an evaluation loop has, None where nobody knows; also for loops of a user's own."""
    if loop is None:
        return None
    return loop.pass_length if hasattr(type(loop), "pass_length") else length_or_none(loop.dataloader)
