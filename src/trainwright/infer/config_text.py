"""The config that a checkpoint holds as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainwright.base.errors import ConfigError, RuleError, add_note
from trainwright.config import Config


def config_of(checkpoint: Mapping[str, Any]) -> Config:
    """Its config, read as data: nothing of the text is run, and no module that it names is imported."""
    text = _at(checkpoint, "message_hub", "runtime_info", "cfg") or _at(checkpoint, "meta", "cfg")
    if not isinstance(text, str):
        raise RuleError(
            "Cannot find the config in the checkpoint. If model(config) is not provided, the checkpoint must contain "
            f"the config string in `meta` or `message_hub`; it has {', '.join(map(repr, checkpoint)) or 'nothing'}. "
            "Give the config as model=..."
        )
    try:
        return Config.fromstring(text, ".py", trusted=False)
    except ConfigError as error:
        add_note(
            error,
            "This is the config that the checkpoint holds, and a file of weights is never run: give the file of the "
            "config, which you trust, as model=...",
        )
        raise


def _at(tree: Any, *keys: str) -> Any:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree
