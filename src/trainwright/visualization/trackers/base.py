"""What all trackers share."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import torch

from trainwright.base.errors import RuleError, RuleTypeError
from trainwright.base.logs import print_log
from trainwright.base.optional import require
from trainwright.visualization.scalars import Cut
from trainwright.visualization.vis_backend import BaseVisBackend

Suffixes = str | tuple[str, ...] | list[str]


class Tracker(BaseVisBackend):
    """A backend on top of another package.

    A subclass names its ``package``, opens its run in ``_init_env``, and writes numbers in ``log_numbers``. That the
    package is not installed is an error when the backend is made, not when training has begun. After ``close``, writing
    again goes on with the same run. So does another process: ``run_state`` gives plain data, which is saved with each
    checkpoint, and ``take_up`` gets it when the checkpoint is resumed. ``cuts`` says how far points can be taken out.
    """

    package: ClassVar[str]
    extra: ClassVar[str | None] = None
    cuts: ClassVar[str | None] = None
    stand_in: ClassVar[str | None] = None  # a module that will do in place of the package, once it is loaded
    step_is_apart: ClassVar[bool] = False  # no "step" among the numbers

    def __init__(self, save_dir: str | None) -> None:
        super().__init__(save_dir)
        loaded = any(sys.modules.get(name) is not None for name in (self.package, self.stand_in) if name is not None)
        if not loaded and find_spec(self.package) is None:
            self.import_package()

    def import_package(self) -> ModuleType:
        """The package, or MissingExtraError."""
        return require(self.package, self.extra, type(self).__name__, f"pip install {self.package}")

    def make_folder(self) -> str:
        """``save_dir``, which is there afterwards."""
        folder = Path(str(self._save_dir))
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    @property
    def experiment(self) -> Any:
        """The tracker's own object, for what this class does not cover."""
        self.open()
        return self._experiment()

    def _experiment(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must say in _experiment what it writes to")

    def log_numbers(self, numbers: dict[str, float], step: int) -> None:
        """Write plain numbers."""
        raise NotImplementedError(f"{type(self).__name__} must write numbers in log_numbers")

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Write one number."""
        self.add_scalars({name: value}, step)

    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Write the numbers of one step; a "step" among them wins over ``step``, unless ``step_is_apart``. What is no
        number is left to LocalVisBackend.
        """
        if self.step_is_apart and "step" in scalar_dict:
            raise RuleError(
                f"{type(self).__name__} gets the step as add_scalars(..., step=), and none among the numbers."
            )
        self.open()
        values = dict(scalar_dict)
        at = int(values.pop("step", step))
        numbers = {name: number for name, value in values.items() if (number := as_number(value)) is not None}
        if numbers:
            self.log_numbers(numbers, at)

    def close(self) -> None:
        """Close the run, if it was opened."""
        if self._env_initialized:
            self._env_initialized = False
            self._close()

    def _close(self) -> None:
        """Let go of the run."""

    # -- the same run in another process -------------------------------------------------------------------------------

    def run_state(self) -> dict[str, Any] | None:
        """What another process needs to go on with this run; None as long as there is none."""
        identity = self._identity()
        if identity is None or self._save_dir is None:
            return identity
        folder = Path(self._save_dir)
        return {**identity, "folder": os.path.relpath(folder, folder.parent.parent)}

    def take_up(self, state: Mapping[str, Any], cut: Cut | None = None) -> None:
        """Go on with the run of ``state``, without the points that ``cut`` drops, as far as the tracker can take points
        out. While the run is open this goes back in time.
        """
        if not self._env_initialized:
            if self._save_dir is not None and "folder" in state:
                self._save_dir = str(Path(self._save_dir).parent.parent / state["folder"])
            self._go_on(state)
        if cut is None:
            return
        if cut.dropped and self.cuts is None:
            print_log(
                f"{type(self).__name__} goes on from iteration {cut.iteration}, and cannot take out the points that it "
                "has after it.",
                "current",
            )
        self._cut(state, cut)

    def discard(self, state: Mapping[str, Any]) -> bool:
        """Delete the run of ``state``; whether that could be done."""
        return False

    def _identity(self) -> dict[str, Any] | None:
        """What names the run to the tracker; None as long as there is none."""
        return {} if self._env_initialized else None

    def _go_on(self, state: Mapping[str, Any]) -> None:
        """Open the run of ``state`` next time, not a new one."""

    def _cut(self, state: Mapping[str, Any], cut: Cut) -> None:
        """Take out the points that ``cut`` drops."""


def as_number(value: Any) -> float | int | None:
    """The number in ``value``, also in a tensor or an array of one element; None when there is none."""
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, (np.ndarray, np.generic, torch.Tensor)):
        n_elements = value.numel() if isinstance(value, torch.Tensor) else value.size
        number = value.item() if n_elements == 1 else None
        return number if isinstance(number, (int, float)) else None
    return None


def finite(numbers: Mapping[str, float]) -> dict[str, float]:
    """``numbers`` without NaN and infinities, for a tracker that would write something else in their place."""
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def as_picture(name: str, image: Any) -> np.ndarray:
    """``image`` as (H, W, 3) of uint8."""
    if getattr(image, "dtype", None) != np.uint8:
        found = getattr(image, "dtype", type(image).__name__)
        raise RuleTypeError(f"a picture must be an array of uint8, 0 to 255, but {name!r} is of {found}.")
    return np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else np.asarray(image)


def as_dict(config: Any) -> dict[str, Any]:
    """A config as plain dicts."""
    return dict(config.to_dict()) if hasattr(config, "to_dict") else dict(config)


def as_plain(value: Any) -> Any:
    """``value`` of numbers, strings, lists and dicts only; anything else as its text."""
    if isinstance(value, Mapping):
        return {str(name): as_plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic, torch.Tensor)):
        return value.tolist()
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a.b": 1}`` for ``{"a": {"b": 1}}``; lists of dicts by index, other lists as they are."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{path}.")
        elif isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
            flat |= flatten({str(index): item for index, item in enumerate(value)}, f"{path}.")
        else:
            flat[path] = value
    return flat


def files_with_suffix(folder: Path, suffixes: Suffixes, recursive: bool) -> Iterator[Path]:
    """Files of ``folder`` whose names end so, in order; hidden ones are left out."""
    endings = (suffixes,) if isinstance(suffixes, str) else tuple(suffixes)
    for file in sorted(folder.rglob("*") if recursive else folder.glob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if file.name.endswith(endings) and not hidden and file.is_file():
            yield file
