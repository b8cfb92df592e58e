"""Files that are damaged behind the back of whoever wrote them."""

from __future__ import annotations

import logging
import os
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import Work, small_config, train

from trainwright.base.errors import CheckpointError
from trainwright.base.logs import MMLogger
from trainwright.testing.toys import differences

KINDS = ("flipped", "truncated", "zeroed", "empty", "missing")
_WEIGHTS = (60, 20, 18, 1, 1)
_BLOCK = 4096


def damaged(data: bytes, kind: str, draw: random.Random) -> bytes | None:
    """The content of a file after damage of a kind: one bit flipped, cut off anywhere, a disk block of zeros; None for
    one that is gone."""
    if kind == "flipped":
        at = draw.randrange(len(data))
        return data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :]
    if kind == "truncated":
        return data[: draw.randrange(1, len(data))]
    if kind == "zeroed":
        at = draw.randrange(0, len(data), _BLOCK)
        return data[:at] + bytes(len(data[at : at + _BLOCK])) + data[at + _BLOCK :]
    return b"" if kind == "empty" else None


@dataclass
class Tally:
    """What came of so many damages of one file."""

    n: int = 0
    n_harmless: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


class Target:
    """A folder with two checkpoints of one training, the later of which is to be damaged."""

    def __init__(self, folder: Path, layout: str) -> None:
        config = small_config(folder / "run", layout, max_iters=2, val_cfg=None)
        train(config)
        self.folder = folder / "run"
        self.work = Work(small_config(folder / "reader", layout, log_level="WARNING"))
        suffix = ".pth" if layout == "file" else ""
        self.earlier, self.later = (str(self.folder / f"iter_{n}{suffix}") for n in (1, 2))
        self.content = self.work.read(self.later)
        self._logged = _Messages()

    def files(self) -> list[Path]:
        """The files of the later checkpoint."""
        whole = Path(self.later)
        return sorted(whole.iterdir()) if whole.is_dir() else [whole]

    def damage(self, file: Path, n: int, seed: int) -> Tally:
        """Damage one file `n` times, each time anew, and see what is found then."""
        draw, tally, good = random.Random(seed), Tally(), file.read_bytes()
        # As for a new run: a manager knows the files that it has looked at.
        logger = MMLogger.get_current_instance()
        logger.addHandler(self._logged)
        silenced, logger.handlers = logger.handlers, [self._logged]
        try:
            for at in range(n):
                kind = KINDS[at] if at < len(KINDS) else draw.choices(KINDS, _WEIGHTS)[0]
                content = damaged(good, kind, draw)
                file.unlink(missing_ok=True)
                if content is not None:
                    file.write_bytes(content)
                tally.n += 1
                tally.kinds[kind] += 1
                problem = "" if content == good else self._problem(tally)
                if problem:
                    tally.problems.append(f"{file.name} {kind} ({at}): {problem}")
        finally:
            logger.handlers = [handler for handler in silenced if handler is not self._logged]
            file.write_bytes(good)
        return tally

    def _problem(self, tally: Tally) -> str:
        self._logged.texts.clear()
        found = self.work.find(self.folder)
        wrong = self._read_wrongly()
        if found == self.later:
            tally.n_harmless += not wrong
            return wrong and f"the manager takes it: {wrong}"
        if found != self.earlier:
            return f"the manager does not fall back to the one before, but to {found}"
        told = [text for text in self._logged.texts if self.later in text]
        return wrong or ("" if told or not os.path.exists(self.later) else "the manager does not say why")

    def _read_wrongly(self) -> str:
        """What is wrong with reading it directly, where only an error of ours or the right content will do."""
        try:
            content: Any = self.work.direct(self.later)
        except CheckpointError:
            return ""
        except Exception as error:  # noqa: BLE001 - any other is a finding
            return f"{type(error).__name__} instead of a CheckpointError: {error}"
        found = differences(content, self.content)
        return f"silently wrong: {found[0]}" if found else ""


class _Messages(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.texts.append(record.getMessage())
