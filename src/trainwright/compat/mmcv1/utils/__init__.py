"""What mmcv.utils exports."""

from trainwright.compat.exports import lazy_exports
from trainwright.compat.mmcv1.modules import MODULES

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        ".config": ("Config", "ConfigDict", "DictAction"),
        MODULES["utils.misc"]: (
            *("check_prerequisites", "concat_list", "deprecated_api_warning", "has_method", "is_str", "slice_list"),
            *("import_modules_from_strings", "is_method_overridden", "is_seq_of", "is_list_of", "is_tuple_of"),
            *("iter_cast", "list_cast", "tuple_cast", "requires_executable", "requires_package"),
            *("to_1tuple", "to_2tuple", "to_3tuple", "to_4tuple", "to_ntuple"),
        ),
        MODULES["utils.path"]: (
            *("check_file_exist", "find_vcs_root", "fopen", "is_filepath", "mkdir_or_exist", "scandir", "symlink"),
        ),
        MODULES["utils.progressbar"]: (
            *("ProgressBar", "track_iter_progress", "track_parallel_progress", "track_progress"),
        ),
        ".testing": (
            *("assert_attrs_equal", "assert_dict_contains_subset", "assert_dict_has_keys", "assert_is_norm_layer"),
            *("assert_keys_equal", "assert_params_all_zeros", "check_python_script"),
        ),
        MODULES["utils.timer"]: ("Timer", "TimerError", "check_time"),
        MODULES["utils.version_utils"]: ("digit_version", "get_git_hash"),
        ".device_type": ("IS_IPU_AVAILABLE", "IS_MLU_AVAILABLE", "IS_MPS_AVAILABLE", "IS_NPU_AVAILABLE"),
        ".env": ("collect_env",),
        ".hub": ("load_url",),
        ".logging": ("get_logger", "print_log"),
        ".parrots_jit": ("jit", "skip_no_elena"),
        ".parrots_wrapper": (
            *("BuildExtension", "CUDAExtension", "CppExtension", "DataLoader", "IS_CUDA_AVAILABLE", "PoolDataLoader"),
            *("SyncBatchNorm", "TORCH_VERSION", "_AdaptiveAvgPoolNd", "_AdaptiveMaxPoolNd", "_AvgPoolNd", "_BatchNorm"),
            *("_ConvNd", "_ConvTransposeMixin", "_InstanceNorm", "_MaxPoolNd", "_get_cuda_home", "get_build_config"),
            *("is_rocm_pytorch",),
        ),
        ".registry": ("Registry", "build_from_cfg"),
        ".seed": ("worker_init_fn",),
        MODULES["utils.torch_ops"]: ("torch_meshgrid",),
        MODULES["utils.trace"]: ("is_jit_tracing",),
    },
    {place.rpartition(".")[2]: home for place, home in MODULES.items() if place.startswith("utils.")},
)
