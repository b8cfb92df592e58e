"""What updates the parameters, and by how much: optim wrappers, optimizers by name, schedulers."""

from trainwright.optim.amp import AmpOptimWrapper
from trainwright.optim.constructor import DefaultOptimWrapperConstructor, build_optim_wrapper
from trainwright.optim.optimizers import TORCH_OPTIMIZERS
from trainwright.optim.param_scheduler import LRSchedulerMixin, MomentumSchedulerMixin, _ParamScheduler
from trainwright.optim.schedulers import (
    ConstantLR,
    ConstantMomentum,
    ConstantParamScheduler,
    CosineAnnealingLR,
    CosineAnnealingMomentum,
    CosineAnnealingParamScheduler,
    LinearLR,
    LinearMomentum,
    LinearParamScheduler,
    MultiStepLR,
    MultiStepMomentum,
    MultiStepParamScheduler,
)
from trainwright.optim.schedules import INF, SCHEDULES, Schedule
from trainwright.optim.wrapper import BaseOptimWrapper, OptimWrapper, clip_gradients
from trainwright.optim.wrapper_dict import OptimWrapperDict

__all__ = [
    "INF",
    "SCHEDULES",
    "TORCH_OPTIMIZERS",
    "AmpOptimWrapper",
    "BaseOptimWrapper",
    "ConstantLR",
    "ConstantMomentum",
    "ConstantParamScheduler",
    "CosineAnnealingLR",
    "CosineAnnealingMomentum",
    "CosineAnnealingParamScheduler",
    "DefaultOptimWrapperConstructor",
    "LRSchedulerMixin",
    "LinearLR",
    "LinearMomentum",
    "LinearParamScheduler",
    "MomentumSchedulerMixin",
    "MultiStepLR",
    "MultiStepMomentum",
    "MultiStepParamScheduler",
    "OptimWrapper",
    "OptimWrapperDict",
    "Schedule",
    "_ParamScheduler",
    "build_optim_wrapper",
    "clip_gradients",
]
