"""Which checkpoints exist, which is the latest, and the order in which new ones appear and old ones go."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from trainwright.base.errors import CheckpointError
from trainwright.base.logs import MMLogger
from trainwright.checkpoint.format import read_file, read_meta, write_file
from trainwright.checkpoint.published import Published, is_published, publish_keys
from trainwright.dist import is_main_process
from trainwright.io import atomic_write_text
from trainwright.io.atomic import TMP_PREFIX

HINT = "last_checkpoint"


class CheckpointManager:
    """Checkpoints of one folder: ``save`` publishes, ``latest`` finds, ``remove`` deletes.

    ``save_tree(path, tree)`` and ``load_tree(path)`` come from the strategy, which knows how state is laid out; by
    default they write and read one file. The text file ``last_checkpoint`` is a hint for people and other tools:
    ``latest`` looks at the files themselves.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        save_tree: Callable[[Any, dict[str, Any]], None] = write_file,
        load_tree: Callable[..., dict[str, Any]] = read_file,
    ) -> None:
        self.folder = Path(folder)
        self._save_tree = save_tree
        self._load_tree = load_tree

    def save(self, name: str, tree: dict[str, Any]) -> str:
        """Publish ``tree`` under ``name`` and return its path; old checkpoints are untouched until it is durable."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = str(self.folder / name)
        self._save_tree(path, tree)
        return path

    def point_to(self, path: str, hint_folder: str | os.PathLike[str] | None = None) -> None:
        """Move the hint to ``path``; its folder is the manager's own unless another is named. Rank 0 writes it."""
        if not is_main_process():
            return
        atomic_write_text(Path(hint_folder or self.folder) / HINT, path)

    def remove(self, path: str) -> None:
        """Delete a checkpoint that a newer, published one has replaced; one that is gone already is no error. Only rank
        0 deletes."""
        if not is_main_process():
            return
        Path(path).unlink(missing_ok=True)

    def publish(self, path: str, keys: Iterable[str]) -> Published:
        """Write a copy of a checkpoint with these keys only beside it, under a name with its checksum."""
        return publish_keys(path, self._load_tree(path, "cpu"), keys)

    def sweep(self, name: str = "") -> None:
        """Delete what a killed save left behind: files under temporary names, which nobody ever reads. ``name`` is that
        of a checkpoint, for those that are named like it, with another number. Only rank 0 deletes."""
        if not is_main_process():
            return
        for pattern in ["*.pth", *_like(name)]:
            for leftover in self.folder.glob(f"{TMP_PREFIX}{pattern}-*"):
                leftover.unlink(missing_ok=True)

    def candidates(self) -> list[str]:
        """The readable checkpoints, most advanced first: by finished iterations, never by time or by the hint."""
        ranked: list[tuple[int, int, bool, str]] = []
        for path in self._files():
            try:
                meta = read_meta(str(path))
            except CheckpointError as error:
                MMLogger.get_current_instance().warning("skipped a checkpoint that cannot be read: %s", error)
                continue
            is_regular = path.name.startswith(("epoch_", "iter_"))
            ranked.append((int(meta["iter"]), int(meta.get("epoch") or 0), is_regular, str(path)))
        return [path for *_, path in sorted(ranked, reverse=True)]

    def _files(self) -> list[Path]:
        folders = {self.folder}
        hint = self.folder / HINT
        named = hint.read_text(encoding="utf-8").strip() if hint.is_file() else ""
        # Checkpoints may lie in another out_dir, which only the hint knows. When this folder has the file that is
        # named, it was moved or copied here, and what lies at the old place may be another run's by now.
        if named and not (self.folder / Path(named).name).is_file():
            folders.add(Path(named).parent)
        suffix = Path(named).suffix
        patterns = {"*.pth", f"*{glob.escape(suffix)}"} if suffix else {"*.pth", *_like(Path(named).name)}
        found = {
            path for folder in folders if folder.is_dir() for p in patterns for path in folder.glob(p) if path.is_file()
        }
        # Copies to give away hold what is needed to use a model, and not to train it. Where the run's own files are
        # named in the same way the hint shows it.
        are_told_apart = not is_published(Path(named).name)
        return [path for path in sorted(found) if not (are_told_apart and is_published(path.name))]

    def latest(self) -> str | None:
        """The most advanced checkpoint whose checksums hold; what is skipped is logged with the reason."""
        for path in self.candidates():
            try:
                self._load_tree(path, "meta")
            except CheckpointError as error:
                MMLogger.get_current_instance().warning("skipped a checkpoint that does not verify: %s", error)
                continue
            return path
        return None


def _like(name: str) -> list[str]:
    """Patterns for the checkpoints that are named like ``name``, the best ones among them."""
    same = "[0-9]*".join(glob.escape(part) for part in re.split(r"[0-9]+", name))
    return [same, f"best_*_{same}"] if same else []
