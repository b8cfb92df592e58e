"""What a run knows of itself: counters, metrics, messages, random streams. Nothing here calls a hook or a model."""

from trainwright.state.clock import Clock, Completing, Progress
from trainwright.state.context import RunContext
from trainwright.state.history import HistoryBuffer
from trainwright.state.host_copy import HostCopies, HostMemory, host_copy, weights_on_host
from trainwright.state.message_hub import MessageHub
from trainwright.state.metrics import MetricStore
from trainwright.state.plain import NotPlainError, plain_items, to_plain
from trainwright.state.stateful import Stateful, named_by_class
from trainwright.state.stop import StopAt, StopFlag

__all__ = [
    "Clock",
    "Completing",
    "HistoryBuffer",
    "HostCopies",
    "HostMemory",
    "MessageHub",
    "MetricStore",
    "NotPlainError",
    "Progress",
    "RunContext",
    "Stateful",
    "StopAt",
    "StopFlag",
    "host_copy",
    "named_by_class",
    "plain_items",
    "to_plain",
    "weights_on_host",
]
