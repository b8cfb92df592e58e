"""TensorBoard."""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from trainwright.io import atomic_write_bytes
from trainwright.registry import VISBACKENDS
from trainwright.visualization.scalars import Cut
from trainwright.visualization.trackers.base import Tracker, as_number, as_picture


@VISBACKENDS.register_module()
class TensorboardVisBackend(Tracker):
    """Event files in ``save_dir``; look at them with ``tensorboard --logdir``. Numbers are kept in 32 bits."""

    package = "tensorboard"
    stand_in = "torch.utils.tensorboard"
    step_is_apart = True
    extra = "vis"
    cuts = "taken out"

    def __init__(self, save_dir: str) -> None:
        super().__init__(save_dir)
        self._is_new = True

    def _init_env(self) -> None:
        if self.stand_in not in sys.modules:
            self.import_package()
        from torch.utils.tensorboard import SummaryWriter

        self._tensorboard: Any = SummaryWriter(self.make_folder())
        self._is_new = False

    def _experiment(self) -> Any:
        return self._tensorboard

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """Write the config as text."""
        self.open()
        self._tensorboard.add_text("config", config.pretty_text)

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        """Write a picture."""
        self.open()
        self._tensorboard.add_image(name, as_picture(name, image), step, dataformats="HWC")

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Write one number."""
        if as_number(value) is None:
            warnings.warn(f"{name} is no number but a {type(value).__name__}: it is skipped.", stacklevel=2)
            return
        super().add_scalar(name, value, step)

    def log_numbers(self, numbers: dict[str, float], step: int) -> None:
        """One point of one curve each."""
        for name, value in numbers.items():
            self._tensorboard.add_scalar(name, value, step)

    def _close(self) -> None:
        self._tensorboard.close()

    def _identity(self) -> dict[str, Any] | None:
        return None if self._is_new else {}

    def _go_on(self, state: Mapping[str, Any]) -> None:
        self._is_new = False

    def _cut(self, state: Mapping[str, Any], cut: Cut) -> None:
        self.close()
        for file in sorted(Path(str(self._save_dir)).glob("*tfevents*")):
            _without(file, cut)

    def discard(self, state: Mapping[str, Any]) -> bool:
        """Delete its files."""
        shutil.rmtree(str(self._save_dir), ignore_errors=True)
        return True


def _without(file: Path, cut: Cut) -> None:
    """Write an event file anew. ``purge_step`` would not do: validations stand at epochs, training at iterations."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
    from tensorboard.summary.writer.record_writer import RecordWriter

    kept = BytesIO()
    writer = RecordWriter(kept)
    has_changed = False
    for event in LegacyEventFileLoader(str(file)).Load():
        values = [(value.tag, value.simple_value) for value in event.summary.value if value.HasField("simple_value")]
        is_gone = any(cut.drops(tag, event.step, number) for tag, number in values)
        has_changed |= is_gone
        if not is_gone:
            writer.write(event.SerializeToString())
    if has_changed:
        atomic_write_bytes(file, kept.getvalue())
