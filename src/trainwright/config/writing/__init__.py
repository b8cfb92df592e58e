"""From a tree to text that reads back as an equal one."""

from trainwright.config.writing.text import dotted_name, format_config, format_data, quote

__all__ = ["dotted_name", "format_config", "format_data", "quote"]
