"""detectron2.utils.events: ours, and CommonMetricPrinter logs where detectron2's does."""

from __future__ import annotations

from trainwright.trainer import writers as ours
from trainwright.trainer.events import EventStorage, EventWriter, get_event_storage, has_event_storage
from trainwright.trainer.history import HistoryBuffer
from trainwright.trainer.writers import JSONWriter, TensorboardXWriter

__all__ = [
    "CommonMetricPrinter",
    "EventStorage",
    "EventWriter",
    "HistoryBuffer",
    "JSONWriter",
    "TensorboardXWriter",
    "get_event_storage",
    "has_event_storage",
]


class CommonMetricPrinter(ours.CommonMetricPrinter):
    """See trainwright.trainer.writers."""

    logger_name = "detectron2.utils.events"
