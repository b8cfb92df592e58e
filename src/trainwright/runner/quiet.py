"""Work on a runner that leaves nothing in the files of its run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def warnings_only(logger: logging.Logger) -> Iterator[None]:
    """Nothing goes to the files of the run, and to the console only what is wrong."""
    handlers, level = logger.handlers, logger.level
    logger.handlers = [handler for handler in handlers if not isinstance(handler, logging.FileHandler)]
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.handlers = handlers
        logger.setLevel(level)
