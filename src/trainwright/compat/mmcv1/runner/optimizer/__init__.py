"""What mmcv.runner.optimizer exports."""

from trainwright.compat.mmcv1.runner.optimizer.builder import (
    OPTIMIZER_BUILDERS,
    OPTIMIZERS,
    build_optimizer,
    build_optimizer_constructor,
)
from trainwright.compat.mmcv1.runner.optimizer.default_constructor import DefaultOptimizerConstructor

__all__ = [
    "OPTIMIZERS",
    "OPTIMIZER_BUILDERS",
    "DefaultOptimizerConstructor",
    "build_optimizer",
    "build_optimizer_constructor",
]
