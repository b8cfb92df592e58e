"""What mmengine.optim exports: optimizers and schedules."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".optimizer": """
            AmpOptimWrapper ApexOptimWrapper BaseOptimWrapper DefaultOptimWrapperConstructor OPTIMIZERS
            OPTIM_WRAPPER_CONSTRUCTORS OptimWrapper OptimWrapperDict ZeroRedundancyOptimizer
            build_optim_wrapper
        """,
        ".scheduler": """
            ConstantLR ConstantMomentum ConstantParamScheduler CosineAnnealingLR CosineAnnealingMomentum
            CosineAnnealingParamScheduler ExponentialLR ExponentialMomentum ExponentialParamScheduler LinearLR
            LinearMomentum LinearParamScheduler MultiStepLR MultiStepMomentum MultiStepParamScheduler
            OneCycleLR OneCycleParamScheduler PolyLR PolyMomentum PolyParamScheduler ReduceOnPlateauLR
            ReduceOnPlateauMomentum ReduceOnPlateauParamScheduler StepLR StepMomentum StepParamScheduler
            _ParamScheduler
        """,
    },
    modules="optimizer scheduler",
)
