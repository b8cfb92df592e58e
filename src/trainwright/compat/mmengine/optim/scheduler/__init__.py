"""What mmengine.optim.scheduler exports: schedules."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".lr_scheduler": """
            ConstantLR CosineAnnealingLR CosineRestartLR ExponentialLR LinearLR MultiStepLR OneCycleLR PolyLR
            ReduceOnPlateauLR StepLR
        """,
        ".momentum_scheduler": """
            ConstantMomentum CosineAnnealingMomentum CosineRestartMomentum ExponentialMomentum LinearMomentum
            MultiStepMomentum PolyMomentum ReduceOnPlateauMomentum StepMomentum
        """,
        ".param_scheduler": """
            ConstantParamScheduler CosineAnnealingParamScheduler CosineRestartParamScheduler
            ExponentialParamScheduler LinearParamScheduler MultiStepParamScheduler OneCycleParamScheduler
            PolyParamScheduler ReduceOnPlateauParamScheduler StepParamScheduler _ParamScheduler
        """,
    },
    modules="lr_scheduler momentum_scheduler param_scheduler",
)
