"""Names of mmengine.model.utils."""

from trainwright.model.norms import _BatchNormXd, convert_sync_batchnorm, revert_sync_batchnorm
from trainwright.model.utils import detect_anomalous_params, merge_dict, stack_batch

__all__ = [
    "_BatchNormXd",
    "convert_sync_batchnorm",
    "detect_anomalous_params",
    "merge_dict",
    "revert_sync_batchnorm",
    "stack_batch",
]
