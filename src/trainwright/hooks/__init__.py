"""Hooks, one file each."""

from trainwright.engine import Hook, Priority, get_priority
from trainwright.hooks.checkpoint_hook import CheckpointHook
from trainwright.hooks.ema_hook import EMAHook
from trainwright.hooks.iter_timer_hook import IterTimerHook
from trainwright.hooks.logger_hook import LoggerHook
from trainwright.hooks.param_scheduler_hook import ParamSchedulerHook
from trainwright.hooks.runtime_info_hook import RuntimeInfoHook
from trainwright.hooks.sampler_seed_hook import DistSamplerSeedHook

__all__ = [
    "CheckpointHook",
    "DistSamplerSeedHook",
    "EMAHook",
    "Hook",
    "IterTimerHook",
    "LoggerHook",
    "ParamSchedulerHook",
    "Priority",
    "RuntimeInfoHook",
    "get_priority",
]
