"""How a rank tells whoever started it what it failed of, and which of several ranks failed first."""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from trainwright.base.errors import (
    BuildError,
    ConfigError,
    HookError,
    MissingExtraError,
    RankError,
    RegistryError,
    TrainwrightError,
)

_FILE = "TORCHELASTIC_ERROR_FILE"  # torchrun's, whose format this is
_OWN = "trainwright"
_MISTAKES = (BuildError, ConfigError, HookError, MissingExtraError, RegistryError)
_INTERRUPTED = 130


def facts_of(error: BaseException) -> dict[str, Any]:
    """What whoever started this rank has to know of its failure."""
    trace = "".join(traceback.format_exception(error))
    shown = f"error: {error}" if isinstance(error, TrainwrightError) and not _wants_traces() else trace
    notes = getattr(error, "__notes__", []) if shown is not trace else []
    return {
        "text": "\n".join([shown.rstrip("\n"), *notes]),
        "line": f"{type(error).__name__}: {error}".partition("\n")[0],
        "time": time.time(),
        "is_consequence": isinstance(error, RankError),
        "is_mistake": isinstance(error, _MISTAKES),
    }


def tell(error: BaseException) -> bool:
    """Write down what this rank failed of, where the agent that started it reads it; False if there is none."""
    path = os.environ.get(_FILE)
    if not path:
        return False
    own = facts_of(error)
    trace = "".join(traceback.format_exception(error))
    extra = {"py_callstack": trace, "timestamp": str(int(time.time()))}
    content = {"message": {"message": own["line"], "extraInfo": extra}, _OWN: own}
    try:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(content, file)
    except OSError:
        return False
    return True


def _wants_traces() -> bool:
    return os.environ.get("TRAINWRIGHT_TRACEBACK") == "1"


def told_by(path: str) -> dict[str, Any]:
    """What :func:`tell` wrote to that file; nothing where it did not."""
    with suppress(OSError, ValueError):
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        if isinstance(found, dict):
            return dict(found.get(_OWN) or {})
    return {}


@dataclass(frozen=True)
class Failed:
    """The rank that failed first."""

    rank: int
    returned: int  # as subprocess has it: below 0 for a signal
    told: Mapping[str, Any]
    is_quiet: bool  # it ended as it was asked to

    @property
    def exit_code(self) -> int:
        """As a shell gives it."""
        return 128 - self.returned if self.returned < 0 else self.returned

    @property
    def is_hopeless(self) -> bool:
        """Whether the same would happen again: a mistake in the config."""
        return bool(self.told.get("is_mistake"))

    def text(self) -> str:
        """For the user: which rank, how it ended, and its traceback."""
        if self.returned < 0:
            name = signal.Signals(-self.returned).name
            hint = " (out of memory? the kernel's log would say so)" if name == "SIGKILL" else ""
            return f"rank {self.rank} was ended by {name}{hint}"
        if not self.told:
            return f"rank {self.rank} failed with exit code {self.returned}"
        return f"rank {self.rank} failed with exit code {self.returned}:\n{self.told['text']}"


def ended_quietly(returned: Sequence[int], requeue_code: int, heard: Sequence[int]) -> bool:
    """Whether all ranks ended as they were asked to: by exit codes, or by a signal that was passed on to them."""
    asked = {requeue_code, _INTERRUPTED}
    by_signal = {-number for number in (*heard, signal.SIGTERM)}  # the agent ends the rest by SIGTERM
    if len(heard) > 1:
        by_signal.add(-signal.SIGKILL)
    return set(returned) <= asked | by_signal and (bool(heard) or bool(asked & set(returned)))


def first_failed(exits: Mapping[int, tuple[int, Mapping[str, Any]]], seen: Mapping[int, int], is_quiet: bool) -> Failed:
    """Which of the ranks failed first. `exits` has return code and own words of each; `seen` those that were found
    dead before the agent ended the others."""

    def order(rank: int) -> tuple[Any, ...]:
        returned, told = exits[rank]
        if is_quiet:
            return returned < 0, rank
        failed_itself = bool(told) and not told["is_consequence"] or (returned < 0 and rank in seen)
        return not failed_itself, rank not in seen, told.get("time", 0.0), rank

    rank = min(exits, key=order)
    returned, told = exits[rank]
    return Failed(rank, returned, told, is_quiet)
