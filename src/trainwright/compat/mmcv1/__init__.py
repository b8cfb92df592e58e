"""MMCV 1.x's runners and what belongs to them, under the module tree of mmcv.

>>> import trainwright.compat.mmcv1 as face
>>> face.install()          # from here on `import mmcv.runner` is this package's
>>> face.uninstall()
"""

from trainwright.compat.exports import lazy_exports
from trainwright.compat.faces import face
from trainwright.compat.mmcv1.fileio import __all__ as _fileio
from trainwright.compat.mmcv1.utils import __all__ as _utils

install = face("mmcv1").install
uninstall = face("mmcv1").uninstall
_RUNNER = """
    BaseModule BaseRunner CheckpointHook CheckpointLoader ClearMLLoggerHook ClosureHook CosineAnnealingLrUpdaterHook
    CosineAnnealingMomentumUpdaterHook CosineRestartLrUpdaterHook CyclicLrUpdaterHook CyclicMomentumUpdaterHook
    DefaultOptimizerConstructor DefaultRunnerConstructor DistEvalHook DistSamplerSeedHook DvcliveLoggerHook EMAHook
    EpochBasedRunner EvalHook ExpLrUpdaterHook FixedLrUpdaterHook FlatCosineAnnealingLrUpdaterHook Fp16OptimizerHook
    GradientCumulativeFp16OptimizerHook GradientCumulativeOptimizerHook HOOKS Hook InvLrUpdaterHook IterBasedRunner
    IterLoader IterTimerHook LinearAnnealingLrUpdaterHook LinearAnnealingMomentumUpdaterHook LogBuffer LoggerHook
    LossScaler LrUpdaterHook MlflowLoggerHook ModuleDict ModuleList MomentumUpdaterHook NeptuneLoggerHook
    OPTIMIZERS OPTIMIZER_BUILDERS OneCycleLrUpdaterHook OneCycleMomentumUpdaterHook OptimizerHook PaviLoggerHook
    PolyLrUpdaterHook Priority RUNNERS Runner SegmindLoggerHook Sequential StepLrUpdaterHook StepMomentumUpdaterHook
    SyncBuffersHook TensorboardLoggerHook TextLoggerHook WandbLoggerHook _load_checkpoint
    _load_checkpoint_with_prefix allreduce_grads allreduce_params auto_fp16 build_optimizer
    build_optimizer_constructor build_runner force_fp32 get_dist_info get_host_info get_priority get_time_str
    init_dist load_checkpoint load_state_dict master_only obj_from_dict save_checkpoint set_random_seed
    weights_to_cpu wrap_fp16_model
"""

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        ".utils": [name for name in _utils if not name.startswith("_")],
        ".fileio": _fileio,
        ".version": ("__version__", "parse_version_info", "version_info"),
        ".runner": _RUNNER,
    },
    modules=("cnn", "engine", "fileio", "parallel", "runner", "utils", "version"),
)
