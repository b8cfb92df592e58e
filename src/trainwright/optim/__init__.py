"""What updates the parameters, and by how much: optim wrappers, optimizers by name, schedulers."""

from typing import Any

from trainwright.optim.amp import AmpOptimWrapper
from trainwright.optim.apex import ApexOptimWrapper
from trainwright.optim.constructor import DefaultOptimWrapperConstructor, build_optim_wrapper
from trainwright.optim.deepspeed import DeepSpeedOptimWrapper
from trainwright.optim.forms import choose_form
from trainwright.optim.layer_decay import LearningRateDecayOptimWrapperConstructor
from trainwright.optim.optimizers import OTHER_OPTIMIZERS, TORCH_OPTIMIZERS
from trainwright.optim.param_scheduler import LRSchedulerMixin, MomentumSchedulerMixin, _ParamScheduler
from trainwright.optim.plateau import ReduceOnPlateauLR, ReduceOnPlateauMomentum, ReduceOnPlateauParamScheduler
from trainwright.optim.schedule_settings import INF
from trainwright.optim.schedulers import (
    ConstantLR,
    ConstantMomentum,
    ConstantParamScheduler,
    CosineAnnealingLR,
    CosineAnnealingMomentum,
    CosineAnnealingParamScheduler,
    CosineRestartLR,
    CosineRestartMomentum,
    CosineRestartParamScheduler,
    ExponentialLR,
    ExponentialMomentum,
    ExponentialParamScheduler,
    LinearLR,
    LinearMomentum,
    LinearParamScheduler,
    MultiStepLR,
    MultiStepMomentum,
    MultiStepParamScheduler,
    OneCycleLR,
    OneCycleMomentum,
    OneCycleParamScheduler,
    PolyLR,
    PolyMomentum,
    PolyParamScheduler,
    StepLR,
    StepMomentum,
    StepParamScheduler,
    WarmupStableDecayLR,
    WarmupStableDecayMomentum,
    WarmupStableDecayParamScheduler,
)
from trainwright.optim.schedules import REQUIRED, SCHEDULES, Schedule
from trainwright.optim.table_scheduler import TableScheduler
from trainwright.optim.wrapper import BaseOptimWrapper, OptimWrapper
from trainwright.optim.wrapper_dict import OptimWrapperDict

__all__ = [
    "INF",
    "OTHER_OPTIMIZERS",
    "REQUIRED",
    "SCHEDULES",
    "TORCH_OPTIMIZERS",
    "AmpOptimWrapper",
    "ApexOptimWrapper",
    "BaseOptimWrapper",
    "ConstantLR",
    "ConstantMomentum",
    "ConstantParamScheduler",
    "CosineAnnealingLR",
    "CosineAnnealingMomentum",
    "CosineAnnealingParamScheduler",
    "DeepSpeedOptimWrapper",
    "DefaultOptimWrapperConstructor",
    "LRSchedulerMixin",
    "LearningRateDecayOptimWrapperConstructor",
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
    "choose_form",
    "CosineRestartLR",
    "CosineRestartMomentum",
    "CosineRestartParamScheduler",
    "ExponentialLR",
    "ExponentialMomentum",
    "ExponentialParamScheduler",
    "OneCycleLR",
    "OneCycleMomentum",
    "OneCycleParamScheduler",
    "PolyLR",
    "PolyMomentum",
    "PolyParamScheduler",
    "StepLR",
    "StepMomentum",
    "StepParamScheduler",
    "WarmupStableDecayLR",
    "WarmupStableDecayMomentum",
    "WarmupStableDecayParamScheduler",
    "ReduceOnPlateauLR",
    "ReduceOnPlateauMomentum",
    "ReduceOnPlateauParamScheduler",
    "TableScheduler",
    "ZeroRedundancyOptimizer",
]


def __getattr__(name: str) -> Any:
    """torch.distributed.optim takes a while to import, and few need it."""
    if name != "ZeroRedundancyOptimizer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from trainwright.optim.zero import ZeroRedundancyOptimizer

    return ZeroRedundancyOptimizer
