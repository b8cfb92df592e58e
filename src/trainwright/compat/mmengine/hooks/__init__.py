"""What mmengine.hooks exports: hooks."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".checkpoint_hook": "CheckpointHook",
        ".early_stopping_hook": "EarlyStoppingHook",
        ".ema_hook": "EMAHook",
        ".empty_cache_hook": "EmptyCacheHook",
        ".hook": "Hook",
        ".iter_timer_hook": "IterTimerHook",
        ".logger_hook": "LoggerHook",
        ".naive_visualization_hook": "NaiveVisualizationHook",
        ".param_scheduler_hook": "ParamSchedulerHook",
        ".profiler_hook": "NPUProfilerHook ProfilerHook",
        ".runtime_info_hook": "RuntimeInfoHook",
        ".sampler_seed_hook": "DistSamplerSeedHook",
        ".sync_buffer_hook": "SyncBuffersHook",
        ".test_time_aug_hook": "PrepareTTAHook",
    },
    modules="""
        checkpoint_hook early_stopping_hook ema_hook empty_cache_hook hook iter_timer_hook logger_hook
        naive_visualization_hook param_scheduler_hook profiler_hook runtime_info_hook sampler_seed_hook
        sync_buffer_hook test_time_aug_hook
    """,
)
