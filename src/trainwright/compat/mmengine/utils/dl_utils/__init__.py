"""What mmengine.utils.dl_utils exports: utilities that need torch."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".collect_env": "collect_env",
        ".hub": "load_url",
        ".misc": "has_batch_norm is_norm mmcv_full_available tensor2imgs",
        ".parrots_wrapper": "TORCH_VERSION",
        ".setup_env": "set_multi_processing",
        ".time_counter": "TimeCounter",
        ".torch_ops": "torch_meshgrid",
        ".trace": "is_jit_tracing",
    },
    modules="collect_env hub misc parrots_wrapper setup_env time_counter torch_ops trace visualize",
)
