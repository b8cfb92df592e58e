"""What is done about samples that cannot be read."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch.utils.data import get_worker_info
from torch.utils.data._utils.pin_memory import pin_memory

from trainwright.base.errors import ConfigError
from trainwright.base.text import brief

DEFAULT_MAX = 100
TRIES = 20  # other samples that are tried in place of one


@dataclass(frozen=True)
class SampleFailure:
    """Takes the place of a batch whose sample could not be read. torch would rewrite an error raised in a worker."""

    message: str
    cause: BaseException | None  # only within one process: an arbitrary exception need not survive pickling


class Skipped(NamedTuple):
    """A sample that was left out, by its index (the text of one that is no integer)."""

    sample: int | str
    text: str


@dataclass(frozen=True)
class Carried:
    """A batch, with what the main process is to know of how it was read."""

    batch: Any
    skipped: tuple[Skipped, ...] = ()
    stream: Any = None  # where a stream stands behind this batch

    def pin_memory(self, device: Any = None) -> Carried:
        """For torch's pinning thread, which asks for this method."""
        return Carried(pin_memory(self.batch, device), self.skipped, self.stream)


def max_skipped(on_sample_error: Any) -> int | None:
    """How many different samples may be left out: None with 'raise'."""
    if on_sample_error == "raise":
        return None
    if on_sample_error == "skip":
        return DEFAULT_MAX
    if isinstance(on_sample_error, dict) and set(on_sample_error) == {"skip"}:
        limits = on_sample_error["skip"]
        limit = limits.get("max", DEFAULT_MAX) if isinstance(limits, dict) and set(limits) <= {"max"} else None
        if isinstance(limit, int) and not isinstance(limit, bool) and limit >= 1:
            return limit
    raise ConfigError(
        "on_sample_error must be 'raise', 'skip' or dict(skip=dict(max=10)), with a max of at least 1, got "
        f"{brief(on_sample_error)}"
    )


def as_key(index: Any) -> int | str:
    """`index` as it is kept in a checkpoint."""
    try:
        return int(index)
    except (TypeError, ValueError):
        return str(index)


def failure(
    what: str, dataset: Any, error: BaseException, how: str = "read", epoch: int | None = None, hint: str = ""
) -> SampleFailure:
    """What the main process raises for an error in reading or collating."""
    owner = "" if dataset is None else f" of dataset {type(dataset).__name__}"
    frames = error.__traceback__.tb_next if error.__traceback__ else None
    shown = "".join(traceback.format_exception(type(error), error, frames)).rstrip()
    info = get_worker_info()
    worker, when = f" in loader worker {info.id}" if info else "", "" if epoch is None else f" (epoch {epoch})"
    message = f"{what}{owner} could not be {how}{worker}: {type(error).__name__}: {error}{when}\n{shown}{hint}"
    return SampleFailure(message, None if info else error)


def too_many(skipped: Iterable[int | str], limit: int, last: Skipped) -> str:
    """The error for one sample more than may be left out."""
    return (
        f"{len(list(skipped))} samples could not be read, and on_sample_error=dict(skip=dict(max={limit})) leaves out "
        f"{limit} at most; they are {brief(sorted(skipped, key=str), 200)}. The last one: {last.text}. Mend the data, "
        "or raise max"
    )
