"""Names of mmengine.optim.optimizer.builder."""

from trainwright.optim.constructor import build_optim_wrapper
from trainwright.optim.optimizers import TORCH_OPTIMIZERS

__all__ = ["TORCH_OPTIMIZERS", "build_optim_wrapper"]
