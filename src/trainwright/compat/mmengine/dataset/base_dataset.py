"""Names of mmengine.dataset.base_dataset."""

from trainwright.data.base_dataset import BaseDataset, force_full_init
from trainwright.data.compose import Compose

__all__ = ["BaseDataset", "Compose", "force_full_init"]
