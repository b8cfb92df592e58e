"""Formats of files."""

from trainwright.io.handlers.base import BaseFileHandler
from trainwright.io.handlers.json_handler import JsonHandler
from trainwright.io.handlers.pickle_handler import PickleHandler
from trainwright.io.handlers.registry_utils import file_handlers, register_handler
from trainwright.io.handlers.yaml_handler import YamlHandler

__all__ = ["BaseFileHandler", "JsonHandler", "PickleHandler", "YamlHandler", "file_handlers", "register_handler"]
