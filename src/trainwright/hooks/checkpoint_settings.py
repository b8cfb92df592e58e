"""What CheckpointHook's settings may be."""

from __future__ import annotations

import os
from collections.abc import Iterable
from logging import WARNING
from typing import Any, NamedTuple

from trainwright.base.durations import EPOCHS, ITERATIONS, SECONDS, parse_duration, seconds_of
from trainwright.base.errors import ConfigError, ConfigTypeError, RuleError, RuleTypeError
from trainwright.base.logs import print_log
from trainwright.base.text import did_you_mean
from trainwright.io import is_url

LAYOUTS = ("auto", "file", "folder")
_LOCAL = (None, "local", "LocalBackend", "disk", "HardDiskBackend")


class Every(NamedTuple):
    """How often is saved: every so many epochs or iterations, or seconds."""

    interval: int
    by_epoch: bool
    seconds: float | None


def save_times(interval: Any, by_epoch: bool, save_every_s: Any) -> Every:
    """What ``interval``, a whole number or a text with a unit, and ``save_every_s`` ask for together."""
    seconds = None if save_every_s is None else seconds_of(save_every_s, "CheckpointHook save_every_s")
    if isinstance(interval, str):
        duration = parse_duration(interval, "CheckpointHook interval")
        if duration.kind == SECONDS and seconds is None:
            return Every(-1, by_epoch, float(duration.amount))
        if duration.kind not in (ITERATIONS, EPOCHS):
            raise ConfigError(
                f"CheckpointHook interval={interval!r} must be in iterations, epochs or time"
                f"{'' if seconds is None else ', and save_every_s gives the time already'}."
            )
        return Every(int(duration.amount), duration.kind == EPOCHS, seconds)
    if isinstance(interval, bool) or not isinstance(interval, int):
        raise ConfigTypeError(f"CheckpointHook interval must be a whole number, but got {interval!r}.")
    return Every(interval, by_epoch, seconds)


def whole(setting: str, value: Any, least: int) -> int:
    """A whole number that is not below ``least``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigTypeError(f"CheckpointHook {setting} must be a whole number, but got {value!r}.")
    if value < least:
        raise ConfigError(f"CheckpointHook {setting} must be at least {least}, but got {value}.")
    return value


def checked_layout(layout: Any) -> str:
    """One of :data:`LAYOUTS`."""
    if layout not in LAYOUTS:
        raise ConfigError(
            f"CheckpointHook layout must be one of {', '.join(LAYOUTS)}, but is {layout!r}."
            f"{did_you_mean(str(layout), LAYOUTS)}"
        )
    return str(layout)


def names_of(setting: str, given: Any) -> tuple[str, ...] | None:
    """One name or several as a tuple."""
    if given is None:
        return None
    found = (given,) if isinstance(given, str) else given
    if not isinstance(found, Iterable) or not all(isinstance(name, str) for name in found):
        what = "a metric's name" if setting == "save_best" else "a name"
        raise RuleTypeError(f"CheckpointHook {setting} must be {what} or a list of them: {given!r}.")
    found = tuple(found)
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise RuleError(f"CheckpointHook {setting} names {', '.join(map(repr, twice))} more than once.")
    return found


def checked_template(text: str) -> str:
    """A name with one place for a number."""
    try:
        has_place = text.format(1) != text.format(2)
    except (IndexError, KeyError, ValueError):
        has_place = False
    if not has_place:
        raise ConfigError(f"CheckpointHook filename_tmpl must have one {{}} for the number, but is {text!r}.")
    if os.path.basename(text) != text:
        raise ConfigError(
            f"CheckpointHook filename_tmpl must be the name of a file, without a folder, but is {text!r}: the "
            "folder is out_dir."
        )
    return text


def storage_options(out_dir: str | None, backend_args: Any, file_client_args: Any) -> dict[str, Any]:
    """What the storage of ``out_dir`` gets from ``backend_args``, or from its old name; ConfigError where nothing here
    can serve them."""
    if backend_args is not None and file_client_args is not None:
        raise ConfigError(
            'CheckpointHook: "file_client_args" and "backend_args" cannot be set at the same time: keep backend_args.'
        )
    setting = "backend_args" if file_client_args is None else "file_client_args"
    given = backend_args if file_client_args is None else file_client_args
    if file_client_args is not None:
        print_log("CheckpointHook: file_client_args is an old name of backend_args.", "current", WARNING)
    options = dict(given) if isinstance(given, dict) else {}
    backend = options.pop("backend", None)
    is_remote = out_dir is not None and is_url(out_dir)
    is_known = backend in (None, "fsspec") if is_remote else backend in _LOCAL and not options
    if given and not (isinstance(given, dict) and is_known):
        raise ConfigError(
            f"CheckpointHook got {setting}={given!r}. A folder needs none of it, and another storage is given by its "
            "URL, as out_dir='s3://bucket/runs', which any storage has that fsspec reaches: then backend_args may "
            "have the options of its fsspec class, such as dict(key=..., secret=...)."
        )
    if is_remote:
        assert out_dir is not None
        _check_protocol(out_dir)
    return options


def _check_protocol(url: str) -> None:
    from fsspec import get_filesystem_class  # lazy: for URLs only

    protocol = url.partition("://")[0].rpartition("::")[2]
    try:
        get_filesystem_class(protocol)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"CheckpointHook cannot use out_dir={url!r}: {error}. Install that package, correct the protocol, or use a "
            "local folder."
        ) from error
