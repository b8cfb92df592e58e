"""Loggers by name, as mmcv.utils makes them: in the tree of `logging`, and set up once."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from torch import distributed as dist

if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[Any]
else:  # Python 3.10 has no parameter for it
    _StreamHandler = logging.StreamHandler

# Names of the loggers that have been set up; one below a name in it is left to that one.
logger_initialized: dict[str, bool] = {}


class _Console(_StreamHandler):
    """Writes to what `sys.stderr` is at the time, so that redirection and capture work."""

    @property
    def stream(self) -> Any:
        return sys.stderr

    @stream.setter
    def stream(self, value: Any) -> None:
        return


def get_logger(name: str, log_file: Any = None, log_level: int = logging.INFO, file_mode: str = "w") -> logging.Logger:
    """The logger of that name. At the first call it gets a console handler and, on rank 0 with `log_file`, a file.

    Other ranks than 0 log errors only. One whose name begins with that of a logger which is set up stays as it is.
    """
    logger = logging.getLogger(name)
    if any(name.startswith(known) for known in logger_initialized):
        return logger
    # torch's DDP gives the root logger a console handler of its own: what propagates would be shown twice.
    for handler in logger.root.handlers:
        if type(handler) is logging.StreamHandler:
            handler.setLevel(logging.ERROR)
    rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
    handlers: list[logging.Handler] = [_Console()]
    if rank == 0 and log_file is not None:
        handlers.append(logging.FileHandler(log_file, file_mode))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
        handler.setLevel(log_level)
        logger.addHandler(handler)
    logger.setLevel(log_level if rank == 0 else logging.ERROR)
    logger_initialized[name] = True
    return logger


def print_log(msg: Any, logger: Any = None, level: int = logging.INFO) -> None:
    """Log `msg`: `logger` is a Logger, the name of one for :func:`get_logger`, 'silent', or None for stdout."""
    if logger is None:
        sys.stdout.write(f"{msg}\n")
    elif isinstance(logger, logging.Logger):
        logger.log(level, msg)
    elif isinstance(logger, str):
        if logger != "silent":
            get_logger(logger).log(level, msg)
    else:
        raise TypeError(f"logger must be a logging.Logger, a name, 'silent' or None, got {type(logger).__name__}")
