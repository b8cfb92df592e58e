"""What mmcv.parallel exports."""

from trainwright.compat.mmcv1.parallel.collate import collate
from trainwright.compat.mmcv1.parallel.data_container import DataContainer
from trainwright.compat.mmcv1.parallel.data_parallel import MMDataParallel
from trainwright.compat.mmcv1.parallel.distributed import MMDistributedDataParallel
from trainwright.compat.mmcv1.parallel.registry import MODULE_WRAPPERS
from trainwright.compat.mmcv1.parallel.scatter_gather import scatter, scatter_kwargs
from trainwright.compat.mmcv1.parallel.utils import is_module_wrapper

__all__ = [
    "MODULE_WRAPPERS",
    "DataContainer",
    "MMDataParallel",
    "MMDistributedDataParallel",
    "collate",
    "is_module_wrapper",
    "scatter",
    "scatter_kwargs",
]
