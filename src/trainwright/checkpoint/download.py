"""Weights by URL, kept in torch's folder for downloads."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlparse

from torch.hub import HASH_REGEX, download_url_to_file, get_dir

from trainwright.checkpoint.kinds import read_checkpoint


def load_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
) -> Any:
    """Download the file unless it is there, and read it as a checkpoint: no code of it runs.

    `check_hash`: the name of the file holds the first digits of its SHA-256, as `name-01234567.pth`.
    """
    folder = model_dir or os.path.join(get_dir(), "checkpoints")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, file_name or os.path.basename(urlparse(url).path))
    if not os.path.exists(path):
        found = HASH_REGEX.search(os.path.basename(path)) if check_hash else None
        download_url_to_file(url, path, found.group(1) if found else None, progress)
    return read_checkpoint(path, "cpu" if map_location is None else map_location)
