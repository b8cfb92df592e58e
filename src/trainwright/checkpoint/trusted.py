"""The one place where a checkpoint may run code: the user named the file and said that its maker is trusted."""

from __future__ import annotations

import io
from typing import Any

import torch

from trainwright.base.errors import CheckpointError
from trainwright.base.logs import MMLogger


def read_trusted(path: str, source: str | io.BytesIO, map_location: Any) -> Any:
    """Unpickle all of the file, which runs whatever it says. Nothing calls this unless ``trusted=True`` was given."""
    MMLogger.get_current_instance().warning(
        "%s holds Python objects and is unpickled because you trust it (trusted=True): that runs code of the file. "
        "`trainwright ckpt convert --trust-checkpoint` writes a copy that needs no trust.",
        path,
    )
    try:
        return torch.load(source, map_location=map_location, weights_only=False)
    except (AttributeError, ImportError) as error:
        raise CheckpointError(
            f"checkpoint {path!r} holds objects of a class that cannot be imported here: {error}. Run this where it "
            "can be imported, with its project on PYTHONPATH; a class of a script's __main__ only that script can read."
        ) from error
