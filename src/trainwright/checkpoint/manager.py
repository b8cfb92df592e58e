"""Which checkpoints exist, which is the latest, and the order in which new ones appear and old ones go."""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from trainwright.base.errors import CheckpointError, SaveError, WorkDirError
from trainwright.base.logs import MMLogger
from trainwright.checkpoint.folder import check_folder, remove_folder, write_folder
from trainwright.checkpoint.format import write_file
from trainwright.checkpoint.kinds import read_checkpoint
from trainwright.checkpoint.layouts import (
    Signature,
    is_aside,
    is_step_folder,
    meta_of,
    n_bytes,
    name_in,
    signature,
)
from trainwright.checkpoint.published import Published, is_published, publish_keys
from trainwright.checkpoint.run_lock import renew
from trainwright.dist import from_main, is_main_process
from trainwright.io import atomic_write_text, is_url
from trainwright.io.atomic import TMP_PREFIX
from trainwright.io.remote import Commit
from trainwright.io.remote_run import RemoteRun, remote_of, staged, staging_folder

HINT = "last_checkpoint"
_MARGIN = 1 << 20
_LONGEST_HINT, _LONGEST_NAME = 8192, 255


class CheckpointManager:
    """Checkpoints of one folder: ``save`` publishes, ``latest`` finds, ``remove`` deletes.

    ``save_tree(path, tree)`` and ``load_tree(path)`` come from the strategy, which knows how state is laid out; by
    default they write one file and read either layout. The text file ``last_checkpoint`` is a hint for people and other
    tools: ``latest`` looks at the checkpoints themselves. Where there are several ranks all of them call the methods,
    and rank 0 decides; an error there is one on all.

    ``folder`` may be a URL of any storage that fsspec reaches. Then a local folder stands in for it, from where
    checkpoints are uploaded in the background, and into which ``latest`` brings the one that it finds there.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        save_tree: Callable[[Any, dict[str, Any]], None] = write_file,
        load_tree: Callable[..., dict[str, Any]] = read_checkpoint,
    ) -> None:
        self.remote = staged(str(folder)) if is_url(str(folder)) else remote_of(folder)
        self.folder = Path(folder) if self.remote is None else self.remote.folder
        self._save_tree = save_tree
        self._load_tree = load_tree
        self._known: dict[str, Signature | None] = {}

    # writing ----------------------------------------------------------------------------------------------------

    def save(self, name: str, tree: dict[str, Any], layout: str = "file") -> str:
        """Publish ``tree`` under ``name`` and return its path; old checkpoints are untouched until it is durable.

        Raises SaveError when the storage does not take it: nothing of it is left, and training can go on. Each attempt
        has a temporary name of its own, since Linux reports a failed fsync once for a file.
        """
        path = str(self.folder / name_in(layout, name))
        try:
            from_main(lambda: self._make_room(path, tree))
            if layout == "folder":
                write_folder(path, tree)
            else:
                self._save_tree(path, tree)
        except Exception as error:
            if not _is_of_storage(error):
                raise
            raise SaveError(
                f"the checkpoint {path!r} was not written: {_reason(error)}. Nothing of it is left, and what was there "
                "before is as it was."
            ) from error
        self._known[path] = signature(path)
        if self.remote is not None and is_main_process():
            self.remote.upload(path, tree.get("meta", {}))
        return path

    def _make_room(self, path: str, tree: Any) -> None:
        renew(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        needed, free = n_bytes(tree) + _MARGIN, free_bytes(self.folder)
        if needed > free:
            MMLogger.get_current_instance().warning(
                "the checkpoint %s takes about %s, and its disk has %s free: the save is tried and will probably fail. "
                "Free some space, keep fewer with max_keep_ckpts, or save elsewhere with out_dir",
                path,
                _in_words(needed),
                _in_words(free),
            )

    def point_to(self, path: str, hint_folder: str | os.PathLike[str] | None = None) -> None:
        """Move the hint to ``path``; its folder is the manager's own unless another is named."""
        told = path if self.remote is None else self.remote.url_of(path)
        from_main(lambda: atomic_write_text(Path(hint_folder or self.folder) / HINT, told))

    def purge(self, paths: Iterable[str], newest: str) -> list[str]:
        """Delete ``paths``, which ``newest`` has replaced, once that is found to be whole; returns those that are gone.

        What cannot be deleted is reported, stays, and can be tried again.
        """
        return from_main(lambda: self.purge_alone(list(paths), newest))

    def purge_alone(self, paths: list[str], newest: str) -> list[str]:
        """:meth:`purge` on rank 0, where the others are not there to be told."""
        if paths and not self.is_verified(newest):
            MMLogger.get_current_instance().error(
                "nothing is deleted, because the newest checkpoint does not verify: %s", newest
            )
            return []
        return [path for path in paths if path == newest or self._is_removed(path, newest)]

    def _is_removed(self, path: str, newest: str) -> bool:
        try:
            self.remove(path, newest)
        except OSError as error:
            MMLogger.get_current_instance().warning(
                "the old checkpoint %s could not be deleted: %s", path, error.strerror or error
            )
            return False
        return True

    def remove(self, path: str, newest: str | None = None) -> None:
        """Delete a checkpoint; one that is gone already is no error. It ceases to be one at once, by one rename. On a
        remote storage it goes when ``newest``, if given, has arrived there. Only rank 0 deletes."""
        if not is_main_process():
            return
        self._known.pop(path, None)
        if self.remote is not None:
            self.remote.delete(Path(path).name, None if newest is None else Path(newest).name)
        if Path(path).is_dir():
            with suppress(FileNotFoundError):
                remove_folder(Path(path))
        else:
            Path(path).unlink(missing_ok=True)

    def publish(self, path: str, keys: Iterable[str]) -> Published:
        """Write a copy of a checkpoint with these keys only beside it, under a name with its checksum."""
        done = publish_keys(path, self._load_tree(path, "cpu"), keys)
        if self.remote is not None:
            self.remote.upload(done.path, {})
        return done

    def sweep(self, name: str = "") -> None:
        """Delete what killed saves left behind: files and folders under temporary names, which nobody ever reads.
        ``name`` is that of a checkpoint, for those that are named like it, with another number. Whoever calls this
        holds the run lock: another run may be writing. Rank 0 does it."""
        if not is_main_process():
            return
        for pattern in ["*.pth", "iter_*", "epoch_*", "best_*", "upload", "probe", "*.py", HINT, *_like(name)]:
            for leftover in self.folder.glob(f"{TMP_PREFIX}{pattern}-*"):
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    with suppress(OSError):  # it does no harm, and the next start tries again
                        leftover.unlink()

    # finding ----------------------------------------------------------------------------------------------------

    def verify(self, path: str) -> None:
        """Raise CheckpointError unless every byte of the checkpoint at ``path`` is as it was written."""
        try:
            if is_step_folder(path):
                check_folder(path)
            else:
                self._load_tree(path, "meta")
        except OSError as error:
            raise CheckpointError(f"checkpoint {path!r} cannot be read: {error.strerror or error}.") from error

    def counts(self, path: str) -> bool:
        """:meth:`is_verified` as rank 0 finds it, on every rank."""
        return from_main(lambda: self.is_verified(path))

    def is_verified(self, path: str) -> bool:
        """Whether the checkpoint is whole. Its bytes are read once in the life of the manager, as long as its files
        stay the same; one that this manager has written was verified then."""
        now = signature(path)
        if now is None:
            return False
        if self._known.get(path) == now:
            return True
        try:
            self.verify(path)
        except CheckpointError as error:
            MMLogger.get_current_instance().warning("a checkpoint does not verify and is not counted: %s", error)
            return False
        self._known[path] = now
        return True

    def candidates(self) -> list[str]:
        """The readable checkpoints, most advanced first: by finished iterations; of equals the hint's first. Those
        that are on a remote storage alone have the path that they would get here."""
        return list(dict.fromkeys(found.path for found in self._ranked()))

    def _ranked(self) -> list[_Found]:
        ranked: list[_Found] = []
        named = _hinted(self.folder / HINT)[1]
        for path in self._found():
            try:
                meta = meta_of(str(path))
                counts = int(meta["iter"]), path.name == named, int(meta.get("epoch") or 0)
            except (CheckpointError, OSError, TypeError, ValueError) as error:
                MMLogger.get_current_instance().warning("skipped a checkpoint that cannot be read: %s", error)
                continue
            ranked.append(_Found(*counts, not is_aside(path), _is_regular(path.name), True, str(path)))
        for remote in self._remotes():
            ranked += [
                _on_storage(remote, commit, named) for commit in remote.commits() if not is_published(commit.name)
            ]
        return sorted(ranked, key=lambda found: found[:7], reverse=True)

    def _remotes(self) -> list[RemoteRun]:
        """The storage of the folder; for a local one that of the out_dir that its hint names, if that is in use: where
        a run connects to is said by its config, and not by a file."""
        if self.remote is not None:
            return [self.remote]
        url = _hint_text(self.folder / HINT)
        named = remote_of(staging_folder(url.rpartition("/")[0])) if is_url(url) else None
        return [] if named is None else [named]

    def _found(self) -> list[Path]:
        folders = {self.folder, *(remote.folder for remote in self._remotes())}
        folder, named = _hinted(self.folder / HINT)
        # Checkpoints may lie in another out_dir, which only the hint knows. When this folder has the file that is
        # named, it was moved or copied here, and what lies at the old place may be another run's by now.
        if folder is not None and not os.path.exists(self.folder / named):
            folders.add(folder)
        suffix = Path(named).suffix
        patterns = {"*.pth", f"*{glob.escape(suffix)}"} if suffix else {"*.pth", *_like(named)}
        there = [folder for folder in folders if folder.is_dir()]
        files = {path for folder in there for p in patterns for path in folder.glob(p) if path.is_file()}
        steps = {path for folder in there for path in folder.iterdir() if is_step_folder(path)}
        # Copies to give away hold what is needed to use a model, and not to train it. Where the run's own files are
        # named in the same way the hint shows it.
        are_told_apart = not is_published(named)
        kept = [path for path in sorted(files) if not (are_told_apart and is_published(path.name))]
        return [path for path in kept if not path.name.startswith(".")] + sorted(steps)

    def latest(self) -> str | None:
        """The most advanced checkpoint whose checksums hold; what is skipped is logged with the reason."""
        path = from_main(self._latest)
        if path is not None and self.remote is not None and not Path(path).exists():  # rank 0 is on another machine
            path = next(iter(self.remote.fetch(c) for c in self.remote.commits() if c.name == Path(path).name), None)
        return path

    def _latest(self) -> str | None:
        logger = MMLogger.get_current_instance()
        ranked = self._ranked()
        self._catch_up(ranked)
        for found in ranked:
            before = signature(found.path)
            try:
                if found.fetch is not None:
                    return found.fetch()
                self.verify(found.path)
            except CheckpointError as error:
                logger.warning("skipped a checkpoint that does not verify: %s", error)
                continue
            self._known[found.path] = before
            return found.path
        return None

    def _catch_up(self, ranked: list[_Found]) -> None:
        """Have uploaded what an earlier run on this machine could not upload any more."""
        there = {found.path for found in ranked if not found.is_here}
        for remote in self._remotes():
            for found in ranked:
                is_left = found.is_here and found.is_current and found.path not in there
                if is_left and Path(found.path).parent == remote.folder and self.is_verified(found.path):
                    remote.upload(found.path, {"iter": found.iter, "epoch": found.epoch})


class _Found(NamedTuple):
    """A checkpoint, in the order in which they are tried; one that is not here has a way to bring it here."""

    iter: int
    is_named: bool  # by the hint: of two that are as far, it is the one that was saved last
    epoch: int
    is_current: bool
    is_regular: bool
    is_here: bool
    path: str
    fetch: Callable[[], str] | None = None


def _on_storage(remote: RemoteRun, commit: Commit, named: str) -> _Found:
    counts = commit.counters.get("iter", 0), commit.name == named, commit.counters.get("epoch", 0)
    path = str(remote.folder / commit.name)
    return _Found(*counts, True, _is_regular(commit.name), False, path, partial(remote.fetch, commit))


def _is_regular(name: str) -> bool:
    return name.startswith(("epoch_", "iter_"))


def free_bytes(folder: Path) -> int:
    """What a process without privileges may still write there."""
    return shutil.disk_usage(folder).free


def _hint_text(hint: Path) -> str:
    try:
        if not hint.is_file():
            return ""
        with open(hint, "rb") as file:
            return file.read(_LONGEST_HINT).decode().strip()
    except (OSError, ValueError):
        return ""


def _hinted(hint: Path) -> tuple[Path | None, str]:
    """Folder and name of the checkpoint that the hint names. It may say anything: the folder is None where it is none
    that a run could have written, and is looked through and no more; the name shows how files are named."""
    named = Path(_hint_text(hint))
    try:
        is_path = named.is_absolute() and ".." not in named.parts and named.parent.is_dir()
    except (OSError, ValueError):
        is_path = False
    name = named.name if len(os.fsencode(named.name)) <= _LONGEST_NAME else ""
    return (named.parent if is_path and name else None), name


def _is_of_storage(error: BaseException | None) -> bool:
    """Whether the disk is to blame, on this rank or on another one."""
    while error is not None and not isinstance(error, WorkDirError):
        if isinstance(error, (OSError, SaveError)):
            return True
        error = error.__cause__
    return False


def _in_words(n: int) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.1f} MB"


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        return f"{type(error).__name__}: {error.strerror or error}"
    return str(error)


def _like(name: str) -> list[str]:
    """Patterns for the checkpoints that are named like ``name``, the best ones among them."""
    same = "[0-9]*".join(glob.escape(part) for part in re.split(r"[0-9]+", name))
    return [same, f"best_*_{same}"] if same else []
