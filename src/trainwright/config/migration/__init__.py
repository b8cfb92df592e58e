"""MMCV 1.x configs with today's keys, one file a subject."""

from trainwright.config.migration.job import Note
from trainwright.config.migration.migrate import Migration, migrate

__all__ = ["Migration", "Note", "migrate"]
