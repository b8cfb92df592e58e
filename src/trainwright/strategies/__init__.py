"""Strategies: the only code that knows how parameters are placed."""

from trainwright.dist import check_launcher
from trainwright.strategies.adopt import AdoptedStrategy
from trainwright.strategies.base import BaseStrategy
from trainwright.strategies.colossalai import (
    ColossalAIModelWrapper,
    ColossalAIOptimWrapper,
    ColossalAIStrategy,
)
from trainwright.strategies.ddp import DDPStrategy
from trainwright.strategies.deepspeed import DeepSpeedStrategy
from trainwright.strategies.environment import Environment, Randomness
from trainwright.strategies.fsdp import FSDPStrategy
from trainwright.strategies.ranks import RanksStrategy
from trainwright.strategies.single import SingleDeviceStrategy
from trainwright.strategies.tensor_parallel import TensorParallelStrategy, parallelize

__all__ = [
    "AdoptedStrategy",
    "BaseStrategy",
    "ColossalAIModelWrapper",
    "ColossalAIOptimWrapper",
    "ColossalAIStrategy",
    "DDPStrategy",
    "DeepSpeedStrategy",
    "Environment",
    "FSDPStrategy",
    "Randomness",
    "RanksStrategy",
    "SingleDeviceStrategy",
    "TensorParallelStrategy",
    "check_launcher",
    "parallelize",
]
