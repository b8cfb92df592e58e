"""Names of mmengine.dataset.utils."""

from trainwright.data.collate import default_collate, pseudo_collate
from trainwright.data.workers import worker_init_fn

__all__ = ["default_collate", "pseudo_collate", "worker_init_fn"]
