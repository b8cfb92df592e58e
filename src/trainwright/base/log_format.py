"""How a line of a log looks, and which lines are left out."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from trainwright.base.errors import demand

_COLOURS = {"ERROR": "31", "WARNING": "33", "INFO": "37", "DEBUG": "32"}
_UNDERLINED, _BLINKING = "4", "5"


def shows_colours(stream: Any) -> bool:
    """Whether ``stream`` is a terminal with colours whose user wants them (https://no-color.org)."""
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class FilterDuplicateWarning(logging.Filter):
    """Lets each warning through once: what is said in every iteration is read once, and hides the rest."""

    def __init__(self, name: str = "mmengine") -> None:
        super().__init__(name)
        self.seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """False for a warning whose text was there before; other levels pass."""
        if record.levelno != logging.WARNING:
            return True
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit: the handler reports that
            return True
        if text in self.seen:
            return False
        self.seen.add(text)
        return True


class MMFormatter(logging.Formatter):
    """MMEngine's lines: an error says where in the code it was logged, the other levels do not.

    With ``color`` the names of the levels have colours where stdout shows them; warnings and errors blink, and with
    ``blink`` the other levels too.
    """

    def __init__(self, color: bool = True, blink: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        demand(color or not blink, "blink=True needs color=True: what has no colour cannot blink")
        place = "%(pathname)s - %(funcName)s - %(lineno)d - "
        self.err_format = self._line(self._get_prefix("ERROR", color, blink=True), place)
        self.warn_format = self._line(self._get_prefix("WARNING", color, blink=True))
        self.info_format = self._line(self._get_prefix("INFO", color, blink))
        self.debug_format = self._line(self._get_prefix("DEBUG", color, blink))

    @staticmethod
    def _line(level: str, place: str = "") -> str:
        return f"%(asctime)s - %(name)s - {level} - {place}%(message)s"

    def _get_prefix(self, level: str, color: bool, blink: bool = False) -> str:
        if not color or not shows_colours(sys.stdout):
            return level
        codes = [_COLOURS[level], _UNDERLINED, *([_BLINKING] if blink else [])]
        return f"\033[{';'.join(codes)}m{level}\033[0m"

    def format(self, record: logging.LogRecord) -> str:
        """The line; a level of another name is shown as it is called."""
        formats = {
            logging.ERROR: self.err_format,
            logging.WARNING: self.warn_format,
            logging.INFO: self.info_format,
            logging.DEBUG: self.debug_format,
        }
        self._style._fmt = formats.get(record.levelno, self._line("%(levelname)s"))
        return super().format(record)
