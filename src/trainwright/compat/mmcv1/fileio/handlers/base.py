"""What reads and writes one format."""

from trainwright.io.handlers.base import BaseFileHandler

__all__ = ["BaseFileHandler"]
