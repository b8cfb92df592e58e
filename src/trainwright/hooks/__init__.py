"""Hooks, one file each."""

from trainwright.engine import Hook, Priority, get_priority
from trainwright.hooks.checkpoint_hook import CheckpointHook
from trainwright.hooks.desync_hook import DesyncCheckHook
from trainwright.hooks.early_stopping_hook import EarlyStoppingHook
from trainwright.hooks.ema_hook import EMAHook
from trainwright.hooks.empty_cache_hook import EmptyCacheHook
from trainwright.hooks.freeze_hook import FreezeHook
from trainwright.hooks.garbage_collection_hook import GarbageCollectionHook
from trainwright.hooks.grad_norm_hook import GradNormHook
from trainwright.hooks.iter_timer_hook import IterTimerHook
from trainwright.hooks.logger_hook import LoggerHook
from trainwright.hooks.loss_guard_hook import LossGuardHook
from trainwright.hooks.max_time_hook import MaxTimeHook
from trainwright.hooks.memory_report_hook import MemoryReportHook
from trainwright.hooks.naive_visualization_hook import NaiveVisualizationHook
from trainwright.hooks.npu_profiler_hook import NPUProfilerHook
from trainwright.hooks.param_scheduler_hook import ParamSchedulerHook
from trainwright.hooks.prepare_tta_hook import PrepareTTAHook, build_runner_with_tta
from trainwright.hooks.profiler_hook import ProfilerHook
from trainwright.hooks.runtime_info_hook import RuntimeInfoHook
from trainwright.hooks.sampler_seed_hook import DistSamplerSeedHook
from trainwright.hooks.sync_buffer_hook import SyncBuffersHook
from trainwright.hooks.throughput_hook import ThroughputHook

__all__ = [
    "CheckpointHook",
    "DistSamplerSeedHook",
    "DesyncCheckHook",
    "EMAHook",
    "EarlyStoppingHook",
    "EmptyCacheHook",
    "FreezeHook",
    "GarbageCollectionHook",
    "GradNormHook",
    "Hook",
    "IterTimerHook",
    "LoggerHook",
    "LossGuardHook",
    "MaxTimeHook",
    "MemoryReportHook",
    "NPUProfilerHook",
    "NaiveVisualizationHook",
    "ParamSchedulerHook",
    "PrepareTTAHook",
    "Priority",
    "ProfilerHook",
    "RuntimeInfoHook",
    "SyncBuffersHook",
    "ThroughputHook",
    "build_runner_with_tta",
    "get_priority",
]
