"""What mmcv.runner exports. Its runners, hooks and constructors are registered when it is imported."""

from importlib import import_module

from trainwright.compat.exports import lazy_exports
from trainwright.compat.mmcv1.runner import hooks

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        ".base_module": ("BaseModule", "ModuleDict", "ModuleList", "Sequential"),
        ".base_runner": ("BaseRunner",),
        ".builder": ("RUNNERS", "RUNNER_BUILDERS", "build_runner", "build_runner_constructor"),
        ".checkpoint": (
            "CheckpointLoader",
            "_load_checkpoint",
            "_load_checkpoint_with_prefix",
            "get_state_dict",
            "load_checkpoint",
            "load_state_dict",
            "save_checkpoint",
            "weights_to_cpu",
        ),
        ".default_constructor": ("DefaultRunnerConstructor",),
        ".dist_utils": ("allreduce_grads", "allreduce_params", "get_dist_info", "init_dist", "master_only"),
        ".epoch_based_runner": ("EpochBasedRunner", "Runner"),
        ".fp16_utils": ("LossScaler", "auto_fp16", "force_fp32", "wrap_fp16_model"),
        ".hooks": tuple(hooks.__all__),
        ".iter_based_runner": ("IterBasedRunner", "IterLoader"),
        ".log_buffer": ("LogBuffer",),
        ".optimizer": (
            "OPTIMIZERS",
            "OPTIMIZER_BUILDERS",
            "DefaultOptimizerConstructor",
            "build_optimizer",
            "build_optimizer_constructor",
        ),
        ".priority": ("Priority", "get_priority"),
        ".utils": ("get_host_info", "get_time_str", "obj_from_dict", "set_random_seed"),
    },
)

# What registers something. In this order none needs a later one to be complete.
_REGISTERING = (
    *(f".hooks.{name}" for name in hooks.MODULES),
    ".epoch_based_runner",
    ".iter_based_runner",
    ".default_constructor",
    ".optimizer",
)
for _module in _REGISTERING:
    import_module(_module, __name__)
