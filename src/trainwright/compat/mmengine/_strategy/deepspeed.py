"""Names of mmengine._strategy.deepspeed."""

from trainwright.model.engine_wrapper import MMDeepSpeedEngineWrapper
from trainwright.optim.deepspeed import DeepSpeedOptimWrapper
from trainwright.optim.optimizers import installed
from trainwright.strategies.deepspeed import DeepSpeedStrategy

__all__ = [
    "DeepSpeedOptimWrapper",
    "DeepSpeedStrategy",
    "MMDeepSpeedEngineWrapper",
    "register_deepspeed_optimizers",
]


def register_deepspeed_optimizers() -> list[str]:
    """Names of DeepSpeed's, if it is installed: they are registered, and imported when they are named."""
    return installed("deepspeed")
