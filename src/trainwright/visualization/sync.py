"""Replays what a run has written into a tracker."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainwright.base.errors import ConfigError, TrainwrightError
from trainwright.base.optional import require
from trainwright.base.text import did_you_mean
from trainwright.config import Config
from trainwright.io import atomic_write_text
from trainwright.registry import VISBACKENDS
from trainwright.visualization.scalars import SCALARS, Scalars, find_parts, read_scalars
from trainwright.visualization.trackers.base import Tracker

RECORD = "synced.json"


@dataclass
class Synced:
    """What a sync did: ``how`` says whether it began a tracker run, went on with one, or replaced one."""

    tracker: str
    how: str
    state: dict[str, Any]
    n_lines: int = 0
    n_pictures: int = 0
    has_config: bool = False
    notes: list[str] = field(default_factory=list)


@dataclass
class _Sent:
    """What the record beside a run says about one tracker."""

    state: dict[str, Any] | None = None
    n_lines: int = 0
    digest: str = ""
    pictures: list[str] = field(default_factory=list)
    has_config: bool = False


def tracker_class(name: str) -> type[Tracker]:
    """The tracker of a package (``wandb``), or with that class name (``WandbVisBackend``)."""
    known = {kind.package: kind for kind in VISBACKENDS.module_dict.values() if issubclass(kind, Tracker)}
    found = known.get(name.lower()) or VISBACKENDS.get(name)
    if not (isinstance(found, type) and issubclass(found, Tracker)):
        raise ConfigError(f"no tracker {name!r}; there are {', '.join(sorted(known))}.{did_you_mean(name, known)}")
    return found


def sync_run(run: str | Path, to: str, options: Mapping[str, Any] | None = None) -> Synced:
    """Write the scalars, config and pictures of ``run`` (a work folder, or one log folder) into the tracker ``to``.

    ``options`` are arguments of its writer, nested ones as ``init_kwargs.project``. What was sent is recorded in
    ``synced.json``: the next time only what is new is sent. When points that were sent count no more, because the run
    was resumed from before them, the tracker run is replaced.
    """
    kind = tracker_class(to)
    parts = find_parts(run)
    scalars = read_scalars(part / SCALARS for part in parts)
    folder = Path(run)
    given = {"save_dir": str(folder / "synced" / kind.package), **_nested(options or {})}
    sent = _read_record(folder, kind.__name__)
    done = Synced(kind.__name__, "a new run", {}, notes=list(scalars.notes))
    if sent.state is not None:
        if _digest(scalars, sent.n_lines) == sent.digest:
            done.how = "the run of the last time"
        else:
            sent = _replace(VISBACKENDS.build({"type": kind.__name__, **given}), sent, done)
    tracker: Tracker = VISBACKENDS.build({"type": kind.__name__, **given})
    try:
        if sent.state is not None:
            tracker.take_up(sent.state)
        _send(tracker, parts, scalars, sent, done)
    except TrainwrightError:
        raise
    except Exception as error:
        raise TrainwrightError(
            f"{kind.__name__} raised {type(error).__name__}: {error}. {done.n_lines} lines were sent; the next sync "
            "goes on after them."
        ) from error
    finally:
        sent.state = tracker.run_state() or sent.state
        with suppress(Exception):  # of a tracker that has just failed
            tracker.close()
        if sent.state is not None:
            sent.digest = _digest(scalars, sent.n_lines)
            _write_record(folder, kind.__name__, sent)
    done.state = sent.state or {}
    return done


def _replace(tracker: Tracker, sent: _Sent, done: Synced) -> _Sent:
    done.how = "a new run in place of the last one"
    assert sent.state is not None
    try:
        is_gone = tracker.discard(sent.state)
    finally:
        tracker.close()
    if not is_gone:
        named = ", ".join(f"{name} {value}" for name, value in sent.state.items() if name != "folder")
        done.notes.append(f"the last one ({named}) is still there: {tracker.package} deletes none from here")
    return _Sent()


def _send(tracker: Tracker, parts: list[Path], scalars: Scalars, sent: _Sent, done: Synced) -> None:
    if not sent.has_config:
        config = _config(parts, done)
        if config is not None:
            tracker.add_config(config)
            sent.has_config = done.has_config = True
    for line in scalars.lines[sent.n_lines :]:
        numbers = {name: value for name, value in line.values.items() if name != "step"}
        tracker.add_scalars(numbers, int(line.step))
        sent.n_lines += 1
        done.n_lines += 1
    for part in parts:
        top = part / "vis_data" / "vis_image"
        for file in sorted(top.rglob("*.png")):
            name = file.relative_to(top).as_posix()
            found = re.fullmatch(r"(.+)_(\d+)\.png", name)
            if found is not None and name not in sent.pictures:
                tracker.add_image(found[1], _picture(file), int(found[2]))
                sent.pictures.append(name)
                done.n_pictures += 1


def _config(parts: list[Path], done: Synced) -> Config | None:
    for part in reversed(parts):
        file = part / "vis_data" / "config.py"
        if file.is_file():
            try:
                return Config.fromfile(str(file), import_custom_modules=False, trusted=False)
            except TrainwrightError as error:
                done.notes.append(f"the config was not sent: {error}")
                return None
    return None


def _picture(file: Path) -> Any:
    require("PIL", "vis", "reading pictures", "pip install pillow")
    import numpy as np
    from PIL import Image

    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"))


def _nested(options: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in options.items():
        *path, last = key.split(".")
        node = tree
        for name in path:
            node = node.setdefault(name, {})
            if not isinstance(node, dict):
                raise ConfigError(f"option {key!r} goes into {name!r}, which has a value of its own")
        node[last] = value
    return tree


def _digest(scalars: Scalars, n_lines: int) -> str:
    text = "\n".join(json.dumps(line.values, sort_keys=True) for line in scalars.lines[:n_lines])
    return f"{min(n_lines, len(scalars.lines))}:{hashlib.sha256(text.encode()).hexdigest()}"


def _records(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _read_record(folder: Path, name: str) -> _Sent:
    found = _records(folder).get(name)
    return _Sent(**found) if isinstance(found, dict) else _Sent()


def _write_record(folder: Path, name: str, sent: _Sent) -> None:
    text = json.dumps({**_records(folder), name: vars(sent)}, indent=1)
    atomic_write_text(folder / RECORD, text + "\n")
