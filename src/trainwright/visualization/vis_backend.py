"""Writers: each takes what the Visualizer hands on and puts it somewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar, TextIO, TypeVar

from trainwright.base.errors import ConfigError, RuleError, RuleTypeError, WorkDirError
from trainwright.base.optional import require
from trainwright.registry import VISBACKENDS

F = TypeVar("F", bound=Callable[..., Any])


def force_init_env(old_func: F) -> F:
    """Decorator of a backend's method: the destination is opened before it runs."""

    @wraps(old_func)
    def opened(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(self, "_init_env"):
            raise AttributeError(f"{type(self)} has no _init_env method, which opens its destination")
        if not getattr(self, "_env_initialized", False):
            self._init_env()
            self._env_initialized = True
        return old_func(self, *args, **kwargs)

    return opened  # type: ignore[return-value]


class BaseVisBackend:
    """One destination. A subclass overrides what it can write; what it does not override is dropped.

    ``_init_env`` opens the destination. It runs once, when something is first written or ``experiment`` is read, so
    that a backend which never gets anything leaves no trace. ``needs_folder`` is False for one that can do without
    ``save_dir``.
    """

    needs_folder: ClassVar[bool] = True

    def __init__(self, save_dir: str | None) -> None:
        self._save_dir = save_dir
        self._env_initialized = False

    @property
    def save_dir(self) -> str | None:
        """The folder given to the constructor."""
        return self._save_dir

    def _init_env(self) -> None:
        """Open the destination."""

    def open(self) -> None:
        """Run ``_init_env`` unless that was done."""
        if not self._env_initialized:
            self._init_env()
            self._env_initialized = True

    @property
    def experiment(self) -> Any:
        """The object underneath, for what this class does not cover; this object itself when there is none."""
        self.open()
        return self

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """Write the config of the run."""

    def add_graph(self, model: Any, data_batch: Any, **kwargs: Any) -> None:
        """Write, or watch, the model."""

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        """Write a picture, (H, W, 3) or (H, W), 8-bit."""

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Write one number."""

    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Write the numbers of one step."""

    def close(self) -> None:
        """Let go of the destination. Writing again opens it again."""


def _as_json(value: Any) -> Any:
    """Numbers in tensors and arrays become plain; anything else is refused by name."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(
        f"a value of type {type(value).__name__} cannot be written as a scalar; hand over a number or a string"
    )


_JSON = json.JSONEncoder(default=_as_json)


@VISBACKENDS.register_module()
class LocalVisBackend(BaseVisBackend):
    """Files in a folder: scalars as JSON lines, the config as text, pictures as PNG.

    A line of the scalar file is one JSON object, written and flushed as a whole, so that what is on the disk can be
    read while the run goes on and after it was killed. Not-a-number and infinities are written the way Python's
    ``json`` reads them back (``NaN``, ``Infinity``).

    Args:
        save_dir: folder of all files; made when the first of them is written.
        img_save_dir: folder of pictures, inside ``save_dir``.
        config_save_file: file name of the config.
        scalar_save_file: file name of the scalars.
    """

    def __init__(
        self,
        save_dir: str | None,
        img_save_dir: str = "vis_image",
        config_save_file: str = "config.py",
        scalar_save_file: str = "scalars.json",
    ) -> None:
        super().__init__(save_dir)
        if not config_save_file.endswith((".py", ".json", ".yaml", ".yml")):
            raise RuleError(f"config_save_file={config_save_file!r} must end in .py, .json, .yaml or .yml")
        if not scalar_save_file.endswith(".json"):
            raise RuleError(f"scalar_save_file={scalar_save_file!r} must end in .json")
        self._given = {
            "_img_save_dir": img_save_dir,
            "_config_save_file": config_save_file,
            "_scalar_save_file": scalar_save_file,
        }
        self._img_save_dir, self._config_save_file, self._scalar_save_file = self._given.values()
        self._files: dict[Path, TextIO] = {}

    @property
    def folder(self) -> Path:
        """The folder of all files."""
        if self._save_dir is None:
            raise ConfigError("LocalVisBackend has no folder to write to: give it save_dir")
        return Path(self._save_dir)

    @property
    def scalar_file(self) -> Path:
        """The file that every scalar goes to."""
        return self.folder / self._given["_scalar_save_file"]

    def _init_env(self) -> None:
        self._make_folder(self.folder)
        for attribute, name in self._given.items():
            setattr(self, attribute, str(self.folder / name))

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """Dump ``config`` (anything with ``dump(path)``)."""
        self.open()
        config.dump(self._config_save_file)

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        """Write ``{name}_{step}.png``; ``image`` is (H, W, 3) RGB or (H, W) grey, 8-bit. ``name`` may hold folders."""
        dtype = getattr(image, "dtype", type(image).__name__)
        if dtype != "uint8":
            raise RuleTypeError(f"a picture must be an array of uint8, 0 to 255, but {name!r} is of {dtype}.")
        self.open()
        require("matplotlib", "vis", "writing pictures")
        from matplotlib.image import imsave

        file = Path(self._img_save_dir, f"{name}_{step}.png")
        self._make_folder(file.parent)
        imsave(file, image, cmap="gray", vmin=0, vmax=255)

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Append ``{name: value, "step": step}``."""
        self._write(self.scalar_file, {name: value, "step": step})

    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Append one line with all of ``scalar_dict``; a "step" in it wins over ``step``.

        With ``file_path`` (a name inside ``save_dir``, ending in .json) the line goes there too.
        """
        line = {**scalar_dict, "step": scalar_dict.get("step", step)}
        if file_path is not None:
            if not file_path.endswith(".json") or self.folder / file_path == self.scalar_file:
                raise RuleError(f"file_path={file_path!r} must end in .json and must not be {self.scalar_file.name!r}")
            self._write(self.folder / file_path, line)
        self._write(self.scalar_file, line)

    def close(self) -> None:
        """Close the files."""
        while self._files:
            self._files.popitem()[1].close()

    def _write(self, path: Path, line: dict[str, Any]) -> None:
        text = _JSON.encode(line)
        file = self._files.get(path)
        if file is None:
            self.open()
            file = self._files[path] = path.open("a", encoding="utf-8")
        file.write(text + "\n")
        file.flush()

    @staticmethod
    def _make_folder(folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkDirError(
                f"cannot make {folder} ({error.strerror}): set work_dir to a place you may write"
            ) from error
