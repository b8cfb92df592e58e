"""The core: events, hooks and their dispatch, ``run_iter`` and ``run_span``, and the loops made of them."""

from trainwright.engine.core import SpanEnd, open_phase, run_iter, run_span
from trainwright.engine.dispatch import MMENGINE, NEVER, Dialect, HookTable
from trainwright.engine.events import Event, Phase
from trainwright.engine.hook import Hook
from trainwright.engine.hook_profile import HookProfile
from trainwright.engine.loops import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, TestLoop, ValLoop, ValSchedule
from trainwright.engine.priority import Priority, get_priority, priority_name

__all__ = [
    "MMENGINE",
    "NEVER",
    "BaseLoop",
    "Dialect",
    "EpochBasedTrainLoop",
    "Event",
    "Hook",
    "HookProfile",
    "HookTable",
    "IterBasedTrainLoop",
    "Phase",
    "Priority",
    "SpanEnd",
    "TestLoop",
    "ValLoop",
    "ValSchedule",
    "get_priority",
    "open_phase",
    "priority_name",
    "run_iter",
    "run_span",
]
