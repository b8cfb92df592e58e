"""Names of mmengine._strategy.deepspeed."""

from trainwright.model.engine_wrapper import MMDeepSpeedEngineWrapper
from trainwright.optim.deepspeed import DeepSpeedOptimWrapper
from trainwright.strategies.deepspeed import DeepSpeedStrategy

__all__ = ["DeepSpeedOptimWrapper", "DeepSpeedStrategy", "MMDeepSpeedEngineWrapper"]
