"""Names of mmengine.hooks.profiler_hook."""

from trainwright.hooks.npu_profiler_hook import NPUProfilerHook
from trainwright.hooks.profiler_hook import ProfilerHook

__all__ = ["NPUProfilerHook", "ProfilerHook", "check_kineto"]


def check_kineto() -> bool:
    """Whether torch was built with the profiler."""
    import torch

    return bool(torch.autograd.kineto_available())  # type: ignore[attr-defined]
