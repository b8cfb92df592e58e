"""A copy of a checkpoint to give away: chosen keys only, the beginning of its checksum in the name."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint.format import write_file
from trainwright.io.atomic import TMP_PREFIX, fsync_dir

_PUBLISHED = re.compile(r"-[0-9a-f]{8}\.pth")
_CHUNK = 1 << 20


class Published(NamedTuple):
    """The path, the keys of the checkpoint that were left out, and the wished ones that it does not have."""

    path: str
    left_out: list[str]
    missing: list[str]


def is_published(name: str) -> bool:
    """Whether ``name`` is as :func:`publish_keys` names files."""
    return _PUBLISHED.fullmatch(name, max(len(name) - 13, 0)) is not None


def publish_keys(path: str | os.PathLike[str], tree: Mapping[str, Any], keys: Iterable[str]) -> Published:
    """Write the ``keys`` of ``tree``, which is the checkpoint at ``path``, as ``<path without suffix>-<sha256>.pth``.

    Of the sum the first 8 digits stand in the name, which is what torch.hub checks when it downloads the file.
    """
    wished = list(keys)
    kept = {key: value for key, value in tree.items() if key in wished}
    missing = [key for key in wished if key not in tree]
    if not kept:
        raise CheckpointError(
            f"nothing of the checkpoint {str(path)!r} would be published: it has the keys {', '.join(tree)}, and asked "
            f"for are {', '.join(wished) or 'none'}."
        )
    whole = Path(path)
    stem = whole.stem if whole.suffix == ".pth" else whole.name
    tmp = whole.with_name(f"{TMP_PREFIX}{stem}.pth-{uuid.uuid4().hex}")
    try:
        write_file(tmp, kept)
        target = whole.with_name(f"{stem}-{_sha256(tmp)[:8]}.pth")
        os.replace(tmp, target)
    except BaseException:
        tmp.unlink(missing_ok=True)
        raise
    fsync_dir(whole.parent)
    return Published(str(target), [key for key in tree if key not in kept], missing)


def _sha256(path: Path) -> str:
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            total.update(chunk)
    return total.hexdigest()
