"""What becomes of the traces of a profiler: described by a dict, or a file for a viewer."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from logging import Logger
from pathlib import Path
from typing import Any

from torch import profiler
from torch.autograd.profiler_util import EventList

from trainwright.base.errors import ConfigError, ConfigTypeError, RuleTypeError
from trainwright.base.text import did_you_mean
from trainwright.registry import argument_errors

Handler = Callable[[Any], Any]
_TRACES = ("log_trace", "tb_trace")


def check_handler(given: Any, json_trace_path: str | None) -> None:
    """Refuse what is neither a function nor the description of a handler; `json_trace_path` is written as well."""
    if given is None or (callable(given) and not isinstance(given, dict)):
        return
    if not isinstance(given, dict):
        raise ConfigTypeError(f"ProfilerHook on_trace_ready must be a function or a dict, but got {given!r}.")
    kind = given.get("type")
    if kind not in _TRACES:
        raise ConfigError(
            f"ProfilerHook on_trace_ready must have the type 'log_trace' or 'tb_trace', but has {kind!r}."
            f"{did_you_mean(str(kind), _TRACES)}"
        )
    if kind == "tb_trace" and json_trace_path is not None:
        raise ConfigError(
            f"ProfilerHook json_trace_path={json_trace_path!r} does not go with on_trace_ready=dict(type='tb_trace'), "
            "which writes the same trace as a JSON file already; torch writes it once. worker_name names that file."
        )
    target: Any = EventList.table if kind == "log_trace" else profiler.tensorboard_trace_handler
    added = ["self"] if kind == "log_trace" else [] if "dir_name" in given else ["dir_name"]
    wrong = argument_errors(target, {k: v for k, v in given.items() if k != "type"}, injected=added)
    if wrong:
        raise ConfigTypeError(f"ProfilerHook on_trace_ready of type {kind!r}: {' '.join(wrong)}")


def schedule_of(given: Any) -> Callable[[int], Any]:
    """What torch.profiler.schedule makes of its arguments, a dict."""
    if not isinstance(given, dict):
        raise RuleTypeError(f"ProfilerHook schedule must be a dict, but got {given!r}.")
    wrong = argument_errors(profiler.schedule, given)
    if wrong:
        raise ConfigTypeError(f"ProfilerHook schedule: {' '.join(wrong)}")
    try:
        return profiler.schedule(**given)
    except AssertionError as error:
        raise ConfigError(f"ProfilerHook schedule: {error}") from error


def handlers_of(
    given: Any, json_trace_path: str | None, logger: Logger, folder: str, show: Callable[[str], None]
) -> list[Handler]:
    """What is to get each trace: ``on_trace_ready``, and what writes a file."""
    handlers: list[Handler] = []
    if isinstance(given, dict):
        handlers.append(_described(given, logger, folder, show))
    elif given is not None:
        handlers.append(given)
    if json_trace_path is not None:
        handlers.append(partial(_export, path=Path(json_trace_path), logger=logger))
    return handlers


def _described(cfg: dict[str, Any], logger: Logger, folder: str, show: Callable[[str], None]) -> Handler:
    """The handler that `cfg` describes: its table goes to `show`, files for TensorBoard go under `folder`."""
    cfg = dict(cfg)
    if cfg.pop("type") == "log_trace":
        return lambda trace: show(trace.key_averages().table(**cfg))
    cfg["dir_name"] = os.path.join(folder, cfg.get("dir_name", "tf_tracing_logs"))
    logger.info("ProfilerHook writes its traces to %s", cfg["dir_name"])
    handler: Handler = profiler.tensorboard_trace_handler(**cfg)
    return handler


def _export(trace: Any, path: Path, logger: Logger) -> None:
    """Write a file for chrome://tracing or ui.perfetto.dev."""
    path.parent.mkdir(parents=True, exist_ok=True)
    trace.export_chrome_trace(str(path))
    logger.info("ProfilerHook wrote a trace to %s", path)
