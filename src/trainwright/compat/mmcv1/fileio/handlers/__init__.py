"""What mmcv.fileio.handlers exports."""

from trainwright.compat.mmcv1.fileio.handlers.base import BaseFileHandler
from trainwright.compat.mmcv1.fileio.handlers.json_handler import JsonHandler
from trainwright.compat.mmcv1.fileio.handlers.pickle_handler import PickleHandler
from trainwright.compat.mmcv1.fileio.handlers.yaml_handler import YamlHandler

__all__ = ["BaseFileHandler", "JsonHandler", "PickleHandler", "YamlHandler"]
