"""JSON."""

from trainwright.io.handlers.json_handler import JsonHandler, set_default

__all__ = ["JsonHandler", "set_default"]
