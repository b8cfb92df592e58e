"""Configs and models of installed packages, by the names `package::path/of/config.py`."""

from trainwright.hub.hub import get_config, get_model

__all__ = ["get_config", "get_model"]
