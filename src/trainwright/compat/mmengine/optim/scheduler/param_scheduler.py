"""Names of mmengine.optim.scheduler.param_scheduler."""

from torch.optim import Optimizer

from trainwright.optim.param_scheduler import _ParamScheduler
from trainwright.optim.plateau import ReduceOnPlateauParamScheduler
from trainwright.optim.schedule_settings import INF
from trainwright.optim.schedulers import (
    ConstantParamScheduler,
    CosineAnnealingParamScheduler,
    CosineRestartParamScheduler,
    ExponentialParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    OneCycleParamScheduler,
    PolyParamScheduler,
    StepParamScheduler,
)
from trainwright.optim.wrapper import BaseOptimWrapper

__all__ = [
    "ConstantParamScheduler",
    "CosineAnnealingParamScheduler",
    "CosineRestartParamScheduler",
    "ExponentialParamScheduler",
    "INF",
    "LinearParamScheduler",
    "MultiStepParamScheduler",
    "OneCycleParamScheduler",
    "OptimizerType",
    "PolyParamScheduler",
    "ReduceOnPlateauParamScheduler",
    "StepParamScheduler",
    "_ParamScheduler",
]

OptimizerType = BaseOptimWrapper | Optimizer
