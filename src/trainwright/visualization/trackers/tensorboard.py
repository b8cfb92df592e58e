"""TensorBoard."""

from __future__ import annotations

from typing import Any

from trainwright.registry import VISBACKENDS
from trainwright.visualization.trackers.base import Tracker, as_picture


@VISBACKENDS.register_module()
class TensorboardVisBackend(Tracker):
    """Event files in ``save_dir``; look at them with ``tensorboard --logdir``. Numbers are kept in 32 bits."""

    package = "tensorboard"
    extra = "vis"

    def __init__(self, save_dir: str) -> None:
        super().__init__(save_dir)

    def _init_env(self) -> None:
        self.import_package()
        from torch.utils.tensorboard import SummaryWriter

        self._tensorboard: Any = SummaryWriter(self.make_folder())

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

    def log_numbers(self, numbers: dict[str, float], step: int) -> None:
        """One point of one curve each."""
        for name, value in numbers.items():
            self._tensorboard.add_scalar(name, value, step)

    def _close(self) -> None:
        self._tensorboard.close()
