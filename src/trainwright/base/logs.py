"""Logging: a named logger with a console and, where asked, a file; `print_log` chooses between them."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from trainwright.base.defaults import defaults
from trainwright.base.errors import ConfigError, ConfigKeyError
from trainwright.base.instances import ManagerMixin
from trainwright.base.log_format import FilterDuplicateWarning, MMFormatter, shows_colours
from trainwright.base.text import did_you_mean

_COLOURS = {logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "31;1", logging.DEBUG: "36"}
PROGRESS = {"progress": True}  # the ``extra`` of a message that a progress bar shows itself
_FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
_DATE_FORMAT = "%Y/%m/%d %H:%M:%S"


def env_rank() -> int:
    """Rank as the launcher exported it (RANK); 0 without a launcher."""
    return int(os.environ.get("RANK", "0") or 0)


class ConsoleHandler(logging.StreamHandler[Any]):
    """Writes to whatever `sys.stderr` (or `sys.stdout`) is at the time of the message: redirection and capture work."""

    def __init__(self, name: str = "stderr") -> None:
        logging.Handler.__init__(self)
        self._stream = name

    @property
    def stream(self) -> Any:
        """Where the next message goes."""
        return getattr(sys, self._stream)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            stream = self.stream
            line = self.format(record)
            colour = _COLOURS.get(record.levelno)
            if colour and shows_colours(stream):
                line = line.replace(record.levelname, f"\033[{colour}m{record.levelname}\033[0m", 1)
            stream.write(line + "\n")
            stream.flush()
        except Exception:  # noqa: BLE001 - logging's own contract: a handler reports, and never stops the program
            self.handleError(record)


class MMLogger(ManagerMixin, logging.Logger):
    """A logger outside the tree of `logging`: its handlers are its own, and nothing propagates.

    Rank 0 shows `log_level` and above on the console, the other ranks only errors. `log_file` is written by rank 0;
    with `distributed=True`, or at DEBUG, every rank of several writes its own file, with user, host, device and rank in
    the name. `file_handler_cfg` is a dict with the `type` of a file handler of `logging.handlers`, and its arguments.
    A warning is written once. API of mmengine's MMLogger; through the face of MMEngine its lines are as there, and go
    to stdout.
    """

    def __init__(
        self,
        name: str,
        logger_name: str | None = None,
        log_file: str | os.PathLike[str] | None = None,
        log_level: int | str = "INFO",
        file_mode: str = "w",
        distributed: bool = False,
        file_handler_cfg: dict[str, Any] | None = None,
    ) -> None:
        logging.Logger.__init__(self, logger_name or defaults.package)
        self._instance_name = name
        level = _level(log_level)
        rank = _get_rank()
        is_mmengine = defaults.package == "mmengine"
        console = ConsoleHandler("stdout" if is_mmengine else "stderr")
        self._add(console, level if rank == 0 else logging.ERROR, "%m/%d %H:%M:%S" if is_mmengine else _DATE_FORMAT)
        self._log_file: str | None = None
        if log_file is not None:
            every_rank = (distributed or level <= logging.DEBUG) and _get_world_size() > 1
            if every_rank or rank == 0:
                self._log_file = _rank_path(log_file, rank) if every_rank else os.fspath(log_file)
                self._add(_file_handler(self._log_file, file_mode, file_handler_cfg), level, _DATE_FORMAT)

    def _add(self, handler: logging.Handler, level: int, dates: str) -> None:
        """The level is the handler's: the logger has none of its own until somebody sets it."""
        handler.setLevel(level)
        if defaults.package == "mmengine":
            handler.setFormatter(MMFormatter(color=False, datefmt=dates))
        else:
            handler.setFormatter(logging.Formatter(_FORMAT, dates))
        handler.addFilter(FilterDuplicateWarning(self.name))
        self.addHandler(handler)

    @property
    def log_file(self) -> str | None:
        """Path of the file this rank writes, or None."""
        return self._log_file

    @classmethod
    def get_current_instance(cls) -> MMLogger:
        """The current logger; one named as the engine is created if there is none."""
        if cls._active.get() is None and not cls._instance_dict:
            cls.get_instance(defaults.package)
        found = super().get_current_instance()
        assert found is not None
        return found

    def setLevel(self, level: int | str) -> None:
        # A logger outside logging's tree is not reached by the manager's cache invalidation.
        self.level = _level(level)
        self._cache: dict[int, bool] = {}

    def callHandlers(self, record: logging.LogRecord) -> None:
        for handler in self.handlers:
            if record.levelno >= handler.level:
                handler.handle(record)

    def close_files(self) -> None:
        """Close the log file until the next message, which opens one of mode 'a' again."""
        for handler in self.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.close()

    def close(self) -> None:
        """Close the log file and forget the logger's name."""
        for handler in list(self.handlers):
            if isinstance(handler, logging.FileHandler):
                self.removeHandler(handler)
                handler.close()
        self.forget()


def _level(given: int | str) -> int:
    try:
        level: int = logging._checkLevel(given)  # type: ignore[attr-defined]
    except ValueError:
        names = sorted(logging._nameToLevel, key=logging._nameToLevel.__getitem__)
        raise ConfigKeyError(
            f"log_level {given!r} is not known; known: {', '.join(names)}, or a number.{did_you_mean(given, names)}"
        ) from None
    return level


def print_log(msg: Any, logger: logging.Logger | str | None = None, level: int = logging.INFO) -> None:
    """Send `msg` to a logger.

    `logger`: None writes the bare message to stdout, 'silent' drops it, 'current' is the current MMLogger, another
    string is the name of an MMLogger that exists, and a Logger is used as it is.
    """
    if logger is None:
        sys.stdout.write(f"{msg}\n")
    elif isinstance(logger, logging.Logger):
        logger.log(level, msg)
    elif logger == "silent":
        return
    elif logger == "current":
        MMLogger.get_current_instance().log(level, msg)
    elif isinstance(logger, str):
        if not MMLogger.check_instance_created(logger):
            raise ValueError(f"there is no MMLogger named {logger!r}: create it with MMLogger.get_instance({logger!r})")
        MMLogger.get_instance(logger).log(level, msg)
    else:
        raise TypeError(
            f"logger must be a logging.Logger, a name, 'silent', 'current' or None, got {type(logger).__name__}"
        )


def _rank_path(log_file: str | os.PathLike[str], rank: int) -> str:
    stem, suffix = os.path.splitext(os.fspath(log_file))
    parts = [stem, _get_host_info(), f"device{_get_device_id()}", f"rank{rank}"]
    return "_".join(part for part in parts if part) + suffix


def _get_rank() -> int:
    return env_rank()


def _get_world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1") or 1)


def _get_host_info() -> str:
    import getpass
    import socket

    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):  # a user without a name: the file does without it
        return ""


def _get_device_id() -> int | str:
    """The device of this rank: where there are CUDA devices, what stands at its place in CUDA_VISIBLE_DEVICES."""
    local_rank = int(os.environ.get("LOCAL_RANK", "0") or "0")
    torch = sys.modules.get("torch")  # this floor imports none
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    if local_rank >= len(visible) or not (torch is None or torch.cuda.is_available()):
        return local_rank
    device = visible[local_rank]
    return int(device) if device.isdigit() else device  # a part of a GPU has a name


def _file_handler(path: str, mode: str, cfg: dict[str, Any] | None) -> logging.FileHandler:
    if cfg is None:
        return logging.FileHandler(path, mode, encoding="utf-8")
    kinds = _get_logging_file_handlers()
    settings = dict(cfg)
    name = settings.pop("type", None)
    if name not in kinds:
        raise ConfigError(
            f"file_handler_cfg must have as type one of {', '.join(sorted(kinds))}, which are the file handlers of "
            f"logging.handlers, but got {name!r}.{did_you_mean(name, kinds)}"
        )
    handler: logging.FileHandler = kinds[name](**{"filename": path, **settings})
    return handler


def _get_logging_file_handlers() -> dict[str, Any]:
    """Those of `logging.handlers`, by name."""
    from logging import handlers

    return {
        name: kind
        for name, kind in vars(handlers).items()
        if isinstance(kind, type) and issubclass(kind, logging.FileHandler)
    }
