"""YAML."""

from trainwright.io.handlers.yaml_handler import YamlHandler

__all__ = ["YamlHandler"]
