"""STEP_DIR: one training step as a folder, from which ``trainwright replay`` takes that step again.

``state.pth`` is the whole checkpoint right before the step, ``step.json`` says what the step was and what came out of
it, ``batch.pth`` is its batch and ``config.py`` the config, where these are plain data. Nothing in it is run when it is
read.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
import sysconfig
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType
from typing import Any

import torch

from trainwright.base.errors import CheckpointError, ConfigError
from trainwright.base.text import brief
from trainwright.checkpoint.format import read_file, write_file
from trainwright.config import Config
from trainwright.config.diff import diff, render
from trainwright.io import atomic_write_text, fsync_dir
from trainwright.io.atomic import TMP_PREFIX
from trainwright.state import NotPlainError, to_plain

FORMAT_VERSION = 1
STATE_NAME, STEP_NAME, BATCH_NAME, CONFIG_NAME = "state.pth", "step.json", "batch.pth", "config.py"
_NUMBERS = ("losses", "grad_norms")
_NOTES_HEAD = "# Not plain data, written by name:"


def _import_paths() -> list[str]:
    """The folders of ``sys.path`` that are no part of the Python installation, absolute."""
    own = [os.path.abspath(path) for path in (sys.base_prefix, sys.prefix, *sysconfig.get_paths().values())]
    paths = dict.fromkeys(os.path.abspath(path) for path in sys.path)
    return [path for path in paths if not any(path == base or path.startswith(base + os.sep) for base in own)]


@dataclass(frozen=True)
class StepRecord:
    """What a step was, and what came out of it. Counters are from 0.

    Args:
        iteration, epoch, batch_idx: Where in the training the step is; ``batch_idx`` counts within its epoch.
        reason: Why it was recorded, as in "loss is nan".
        policy: What the guard did about it.
        losses: Every number that the step returned, by its name.
        grad_norms: The total norm of the gradients by the name of the optimizer wrapper, "" for a sole one; empty
            inside an accumulation window, where no update was made.
        data_epoch, sample_indices: Which samples the batch is made of, where the loader knows.
        device, autocast, seed, world_size, rank, torch_version: What the run worked on.
        folder, import_paths: The folder it worked in, and where its modules were found.
        config_folders: Folders of the config file and its bases, where files of ``custom_imports`` lie.
        batch_missing, config_missing: Why there is no ``batch.pth`` or ``config.py``; written by write_step_record.
    """

    iteration: int
    epoch: int
    batch_idx: int
    reason: str
    policy: str
    losses: dict[str, float]
    grad_norms: dict[str, float] = field(default_factory=dict)
    data_epoch: int | None = None
    sample_indices: list[int] | None = None
    device: str = "cpu"
    autocast: str | None = None
    seed: int | None = None
    world_size: int = 1
    rank: int = 0
    torch_version: str = field(default_factory=lambda: str(torch.__version__))
    folder: str = field(default_factory=os.getcwd)
    import_paths: list[str] = field(default_factory=_import_paths)
    config_folders: list[str] = field(default_factory=list)
    batch_missing: str | None = None
    config_missing: str | None = None

    def to_json(self) -> str:
        """As text. A number of the step is written twice: for people, and as hexadecimal digits, which lose nothing."""
        values = dataclasses.asdict(self)
        for name in _NUMBERS:
            numbers = {key: float(value) for key, value in values[name].items()}
            values[name] = {key: {"text": repr(number), "hex": number.hex()} for key, number in numbers.items()}
        return json.dumps({"format": FORMAT_VERSION, **values}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "the text") -> StepRecord:
        """The record in ``text``; CheckpointError, naming ``where``, for anything else."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise CheckpointError(
                f"{where} is no JSON ({error}): its copy did not finish, or it was edited."
            ) from error
        version = values.pop("format", None) if isinstance(values, dict) else None
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"{where} has format={version!r}, and this version of trainwright reads format={FORMAT_VERSION}."
            )
        try:
            for name in _NUMBERS:
                values[name] = {key: float.fromhex(number["hex"]) for key, number in values[name].items()}
            record = cls(**values)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"{where} is no record of a step: {type(error).__name__}: {error}. It must be as it was written."
            ) from error
        for name in ("iteration", "epoch", "batch_idx", "world_size", "rank"):
            value = getattr(record, name)
            if type(value) is not int or value < 0:
                raise CheckpointError(f"{where} has {name}={brief(value)}, which must be a whole number from 0 on.")
        return record


def write_step_record(
    folder: str | os.PathLike[str],
    tree: dict[str, Any],
    record: StepRecord,
    *,
    batch: Any = None,
    config: Config | None = None,
) -> str:
    """Publish the record as ``folder``, whole or not at all, and return its path; an earlier one there is replaced.

    ``tree`` is the checkpoint right before the step. ``batch`` and ``config`` are left out where they are no plain
    data, and ``step.json`` says so. Raises CheckpointError when ``tree`` is no plain data, OSError from the disk.
    """
    target = Path(folder).absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex
    fresh, old = (target.with_name(f"{TMP_PREFIX}{target.name}-{kind}-{mark}") for kind in ("new", "old"))
    try:
        fresh.mkdir()
        write_file(fresh / STATE_NAME, tree)
        whole = dataclasses.replace(
            record,
            batch_missing=_write_batch(fresh, batch),
            config_missing=_write_config(fresh, config),
            config_folders=_folders(config),
        )
        atomic_write_text(fresh / STEP_NAME, whole.to_json())
        if target.exists():
            os.rename(target, old)
        os.rename(fresh, target)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        if old.exists() and not target.exists():
            os.rename(old, target)
        raise
    fsync_dir(target.parent)
    shutil.rmtree(old, ignore_errors=True)
    return str(target)


def _folders(config: Any) -> list[str]:
    source = getattr(config, "source", None)
    files = [] if source is None else [file.path for file in reversed(source.chain())]
    return list(dict.fromkeys(os.path.dirname(os.path.abspath(path)) for path in files))


def _write_batch(folder: Path, batch: Any) -> str | None:
    """Why there is no file of the batch; None when there is."""
    if batch is None:
        return "none was given"
    try:
        plain = to_plain(batch, "batch")
    except NotPlainError as error:
        return f"{error}, which is neither a tensor nor plain data"
    write_file(folder / BATCH_NAME, {"batch": plain})
    return None


def _write_config(folder: Path, config: Config | None) -> str | None:
    """Why there is no file of the config; None when there is one that reads back equal without being run."""
    if config is None or not len(config):
        return "the runner was made from objects, without a config"
    path = folder / CONFIG_NAME
    text = config.pretty_text
    notes = text.partition("\n\n")[0].splitlines() if text.startswith(_NOTES_HEAD) else []
    named = [line.lstrip("# ") for line in notes[1:] if line.startswith("#   ") and ": left out" not in line]
    if named:
        return f"it holds objects that are no plain data ({'; '.join(named[:5])})"
    atomic_write_text(path, text)
    try:
        # Functions that a config defines for itself are no settings, and are not written.
        wanted = {key: item for key, item in config._to_lazy_dict().items() if not isinstance(item, FunctionType)}
        changed = render(diff(wanted, _read_config(path)._to_lazy_dict()))
    except ConfigError as error:
        changed = str(error).partition("\n")[0]
    if not changed:
        return None
    path.unlink()
    return f"its text does not read back equal without being run ({brief(changed, 200)})"


def read_record(folder: str | os.PathLike[str]) -> StepRecord:
    """What ``step.json`` says. CheckpointError for a folder that is no STEP_DIR."""
    target = Path(folder)
    file = target / STEP_NAME
    if not target.is_dir():
        kind = "is a file" if target.exists() else "does not exist"
        raise CheckpointError(
            f"STEP_DIR {str(folder)!r} {kind}. It is the folder that the guard names, work_dir/bad_steps/iter_<k>."
        )
    if not file.is_file():
        inner = sorted(path.parent.name for path in target.glob(f"*/{STEP_NAME}"))
        hint = f" There are records in it: {', '.join(inner)}." if inner else ""
        raise CheckpointError(f"{str(folder)!r} is no STEP_DIR: it has no {STEP_NAME}.{hint}")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{str(file)!r} cannot be read: {error}.") from error
    return StepRecord.from_json(text, repr(str(file)))


def read_step_record(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], StepRecord]:
    """The checkpoint right before the step, and what the step was. Raises CheckpointError for what is not whole."""
    record = read_record(folder)
    return read_file(state_path(folder)), record


def state_path(folder: str | os.PathLike[str]) -> str:
    """The checkpoint in a STEP_DIR, which training can be resumed from too."""
    return str(Path(folder).absolute() / STATE_NAME)


def read_batch(folder: str | os.PathLike[str]) -> Mapping[str, Any] | None:
    """``{"batch": ...}`` as it was when the step was recorded; None where it was no plain data."""
    path = Path(folder) / BATCH_NAME
    return read_file(str(path)) if path.is_file() else None


def read_config(folder: str | os.PathLike[str]) -> Config | None:
    """The config of the run, read without running anything; None where there is none."""
    path = Path(folder) / CONFIG_NAME
    return _read_config(path) if path.is_file() else None


def _read_config(path: Path) -> Config:
    return Config.fromfile(path, import_custom_modules=False, trusted=False)
