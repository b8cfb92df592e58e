"""What mmcv.runner.hooks exports. The package above imports all of it."""

from trainwright.compat.exports import lazy_exports

_NAMES = {
    ".hook": ("HOOKS", "Hook"),
    ".checkpoint": ("CheckpointHook",),
    ".closure": ("ClosureHook",),
    ".ema": ("EMAHook",),
    ".evaluation": ("DistEvalHook", "EvalHook"),
    ".iter_timer": ("IterTimerHook",),
    ".logger": (
        "ClearMLLoggerHook",
        "DvcliveLoggerHook",
        "LoggerHook",
        "MlflowLoggerHook",
        "NeptuneLoggerHook",
        "PaviLoggerHook",
        "SegmindLoggerHook",
        "TensorboardLoggerHook",
        "TextLoggerHook",
        "WandbLoggerHook",
    ),
    ".lr_updater": (
        "CosineAnnealingLrUpdaterHook",
        "CosineRestartLrUpdaterHook",
        "CyclicLrUpdaterHook",
        "ExpLrUpdaterHook",
        "FixedLrUpdaterHook",
        "FlatCosineAnnealingLrUpdaterHook",
        "InvLrUpdaterHook",
        "LinearAnnealingLrUpdaterHook",
        "LrUpdaterHook",
        "OneCycleLrUpdaterHook",
        "PolyLrUpdaterHook",
        "StepLrUpdaterHook",
    ),
    ".memory": ("EmptyCacheHook",),
    ".momentum_updater": (
        "CosineAnnealingMomentumUpdaterHook",
        "CyclicMomentumUpdaterHook",
        "LinearAnnealingMomentumUpdaterHook",
        "MomentumUpdaterHook",
        "OneCycleMomentumUpdaterHook",
        "StepMomentumUpdaterHook",
    ),
    ".optimizer": (
        "Fp16OptimizerHook",
        "GradientCumulativeFp16OptimizerHook",
        "GradientCumulativeOptimizerHook",
        "OptimizerHook",
    ),
    ".profiler": ("ProfilerHook",),
    ".sampler_seed": ("DistSamplerSeedHook",),
    ".sync_buffer": ("SyncBuffersHook",),
}
MODULES = tuple(module.removeprefix(".") for module in _NAMES)
__getattr__, __dir__, __all__ = lazy_exports(__name__, _NAMES)
