"""Where hooks of MMCV 1.x put files, and how old checkpoints go."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from trainwright.checkpoint import CheckpointManager
from trainwright.compat.mmcv1.fileio import FileClient


def folder_of_run(
    out_dir: str | None, work_dir: str, file_client_args: dict[str, Any] | None
) -> tuple[FileClient, str]:
    """The client for ``out_dir``, and the folder of the run's name in it; the run's own folder where there is none."""
    folder = out_dir or work_dir
    client = FileClient.infer_client(file_client_args, folder)
    if folder != work_dir:
        folder = client.join_path(folder, os.path.basename(work_dir.rstrip(os.sep)))
    return client, folder


def delete_replaced(client: FileClient, folder: str, old: Iterable[str], newest: str) -> None:
    """Delete ``old`` checkpoints of ``folder``; what lies elsewhere stays. On a local disk ``newest`` must be whole; a
    store that has taken it without an error has it. Rank 0 alone calls it."""
    doomed = [path for path in old if path != newest and _is_in(path, folder)]
    if not doomed:
        return
    if is_local(client):
        CheckpointManager(folder).purge_alone(doomed, newest)
        return
    for path in doomed:
        client.remove(path)


def is_local(client: FileClient) -> bool:
    """Whether the client writes to a local disk."""
    return bool(client.name == "HardDiskBackend")


def _is_in(path: str, folder: str) -> bool:
    return path.rpartition("/")[0] == folder.rstrip("/") or (
        os.path.realpath(os.path.dirname(path)) == os.path.realpath(folder)
    )
