"""Names of mmengine.dataset.utils."""

from trainwright.data.collate import default_collate, pseudo_collate
from trainwright.data.workers import worker_init_fn
from trainwright.registry import FUNCTIONS

__all__ = ["COLLATE_FUNCTIONS", "default_collate", "pseudo_collate", "worker_init_fn"]

COLLATE_FUNCTIONS = FUNCTIONS
