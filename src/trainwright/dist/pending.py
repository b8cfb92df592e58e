"""What this rank waits for: the collectives that torch's flight recorder has as begun and not as ended."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import torch

DEFAULT_GROUP = "the default group"


@dataclass(frozen=True)
class Collective:
    """One that was begun. `number`: how many of its group there were before it, and it; `for_s`: since it was begun."""

    group: str
    number: int
    name: str
    shapes: str
    for_s: float

    def __str__(self) -> str:
        return f"{self.name} number {self.number} of {self.group}, {self.shapes}, for {self.for_s:.0f} s"


@dataclass(frozen=True)
class Recorded:
    """What the recorder has: `pending`, oldest first, and the `newest` number of each group; `text` is all of it."""

    pending: tuple[Collective, ...]
    newest: dict[str, int]
    text: str


def recorded() -> Recorded:
    """Read the flight recorder; nothing where torch has none, or where it is turned off (TORCH_FR_BUFFER_SIZE=0)."""
    module: Any = getattr(torch._C, "_distributed_c10d", None)
    names = ("_dump_nccl_trace_json",) if torch.cuda.is_available() else ()
    texts = [getattr(module, name)() for name in (*names, "_dump_fr_trace_json") if hasattr(module, name)]
    entries = {json.dumps(entry, sort_keys=True): entry for text in texts for entry in _entries(text)}
    pending, newest = [], dict[str, int]()
    for entry in sorted(entries.values(), key=lambda entry: entry["time_created_ns"]):
        if entry.get("is_p2p"):
            continue
        group, number = _group(entry), int(entry["collective_seq_id"])
        newest[group] = max(number, newest.get(group, 0))
        if not entry.get("retired", True):
            since = time.time() - entry["time_created_ns"] / 1e9
            pending.append(Collective(group, number, str(entry["profiling_name"]), _shapes(entry), since))
    return Recorded(tuple(pending), newest, "\n".join(text.decode() for text in texts))


def _entries(text: Any) -> list[dict[str, Any]]:
    found = json.loads(text).get("entries", [])
    return list(found) if isinstance(found, (list, tuple)) else []


def _group(entry: dict[str, Any]) -> str:
    name, description = (*entry.get("process_group", ()), "", "")[:2]
    return DEFAULT_GROUP if description == "default_pg" else f"group {name} ({description})"


def _shapes(entry: dict[str, Any]) -> str:
    parts = zip(entry.get("input_dtypes", ()), entry.get("input_sizes", ()), strict=False)
    shown = [f"{dtype.lower()}{sizes}" for dtype, sizes in parts]
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "") if shown else "no tensor"
