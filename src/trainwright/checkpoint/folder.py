"""The step folder: a checkpoint as files of tensors, one a rank, with a manifest that makes it complete.

iter_120/
  MANIFEST.json                      counters, size and sha256 of every file, place of every tensor
  tensors-00000-of-00002.safetensors what rank 0 has of the tensors, under their place in the state tree
  tensors-00001-of-00002.safetensors
  state.pth                          the rest of the tree; plain data
  rank-00000.pth, rank-00001.pth     what differs between ranks, such as the random streams
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch

from trainwright import dist
from trainwright.base.errors import CheckpointError
from trainwright.base.version import __version__
from trainwright.checkpoint.chunks import Chunk, local_chunk
from trainwright.checkpoint.format import MapLocation, plain_tree, read_file, save_plain
from trainwright.checkpoint.manifest import NAME, Manifest, TensorEntry
from trainwright.checkpoint.stored import OpenFiles, StoredTensor
from trainwright.checkpoint.tensor_files import FileSum, write_summed, write_tensors
from trainwright.checkpoint.tree import TensorTable, put_back
from trainwright.io import fsync_dir, temporary

PER_RANK = ("rng", "ranks")  # lists with an item a rank; each rank hands over its own alone
_STATE = "state.pth"
ASIDE = ".old-"
_LARGE = ("state_dict.", "optimizer.", "ema_state_dict.")  # what grows with the model


def write_folder(path: str | os.PathLike[str], tree: dict[str, Any]) -> None:
    """Publish ``tree`` as a step folder at ``path``: nothing, or an older folder, or the whole new one is there, at
    every moment. Every rank calls it, with its own part of sharded tensors. Of a :data:`PER_RANK` list it
    writes its own item, or all that it has where those of the others are not in it.

    Order: a temporary folder under a unique name that rank 0 chose; every rank its files, each flushed and fsynced;
    sizes and checksums to rank 0; the manifest; fsync of the folder; rename; fsync of the parent. An error on one rank
    is an error on all, and leaves nothing behind.
    """
    target = Path(path)
    names = [str(temporary(target))]
    dist.broadcast_object_list(names)
    tmp, rank = Path(names[0]), dist.get_rank()
    try:
        report = _attempt(_write_part, path, tmp, tree)
        reports = dist.all_gather_object(report)
        _raise_first(path, reports)
        done = [_attempt(_publish, target, tmp, tree, reports) if rank == 0 else None]
        dist.broadcast_object_list(done)
        _raise_first(path, done)
    except BaseException:
        if rank == 0:
            shutil.rmtree(tmp, ignore_errors=True)
        raise


def read_folder(path: str | os.PathLike[str], map_location: MapLocation = "cpu", sums: bool = True) -> dict[str, Any]:
    """The whole tree of a step folder, its checksums verified; sharded tensors are put together.

    Raises CheckpointError for a folder that is incomplete or damaged.
    """
    folder = Path(path)
    manifest = Manifest.read(folder)
    manifest.check_files(folder, sums)
    tree = read_file(folder / _STATE, map_location)
    with OpenFiles(folder) as files:
        tensors = {name: files.tensor(entry) for name, entry in manifest.tensors.items()}
    device = _device(map_location)
    tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
    filled = _filled(folder, tree, tensors)
    for rank in range(manifest.world_size):
        _add(filled, read_file(folder / _rank_file(rank), map_location))
    return filled


def read_own_parts(path: str | os.PathLike[str], sums: bool = True) -> dict[str, Any]:
    """As :func:`read_folder`, but weights and optimizer states are left in their files as :class:`StoredTensor`: a rank
    reads what it puts in place. All ranks call this; each verifies some of the files, and an error is raised on all.

    With as many ranks as there were, and data shared among them in the same way, a :data:`PER_RANK` list has None in
    place of what belongs to the others.
    """
    folder, (own_rank, world_size) = Path(path), dist.get_dist_info()

    def read() -> dict[str, Any]:
        manifest = Manifest.read(folder)
        manifest.check_files(folder, sums, share=(own_rank, world_size))
        files = OpenFiles(folder)
        tensors = {name: _left_in(files, entry) for name, entry in manifest.tensors.items()}
        filled = _filled(folder, read_file(folder / _STATE), tensors)
        data_size = (filled.get("meta") or {}).get("data_size", world_size)
        if (manifest.world_size, data_size) != (world_size, dist.data_info()[1]):  # whose item is whose is not known
            for rank in range(manifest.world_size):
                _add(filled, read_file(folder / _rank_file(rank)))
            return filled
        for key, items in read_file(folder / _rank_file(own_rank)).items():
            filled[key] = [None] * own_rank + items + [None] * (world_size - own_rank - len(items))
        return filled

    found = _attempt(read)
    for error in dist.all_gather_object(found if isinstance(found, Exception) else None):
        if error is not None:
            raise error
    return found  # type: ignore[no-any-return]


def _left_in(files: OpenFiles, entry: TensorEntry) -> torch.Tensor:
    is_large = entry.name.startswith(_LARGE) and entry.shape and 0 not in entry.shape
    return StoredTensor(files, entry) if is_large else files.tensor(entry)


def _filled(folder: Path, tree: dict[str, Any], tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    try:
        return put_back(tree, tensors)  # type: ignore[no-any-return]
    except KeyError as error:
        raise CheckpointError(f"checkpoint {str(folder)!r} is damaged: it has no tensor {error}.") from error


def _add(filled: dict[str, Any], own: dict[str, Any]) -> None:
    for key, items in own.items():
        filled.setdefault(key, []).extend(items)


def check_folder(path: str | os.PathLike[str], sums: bool = True) -> None:
    """Raise CheckpointError unless the folder is complete and, with ``sums``, undamaged. No tensor is taken up."""
    folder = Path(path)
    Manifest.read(folder).check_files(folder, sums)


def folder_meta(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The counters of the step, from the manifest alone."""
    return Manifest.read(Path(path)).meta


def _attempt(work: Any, *args: Any) -> Any:
    """The result, or the error itself: every rank must come to the next exchange, whatever happened to it."""
    try:
        return work(*args)
    except Exception as error:  # noqa: BLE001 - raised by _raise_first, on every rank
        return error


def _raise_first(path: Any, reports: list[Any]) -> None:
    for rank, report in enumerate(reports):
        if isinstance(report, Exception):
            if len(reports) == 1:
                raise report
            raise CheckpointError(
                f"the checkpoint {str(path)!r} was not written: rank {rank} failed with {type(report).__name__}: "
                f"{report}"
            ) from report


def _write_part(path: Any, tmp: Path, tree: dict[str, Any]) -> tuple[dict[str, FileSum], dict[str, TensorEntry]]:
    """This rank's files; returns what the manifest says of them."""
    rank, world_size = dist.get_dist_info()
    tmp.mkdir(parents=True, exist_ok=True)
    table = TensorTable()
    plain = plain_tree(path, tree)
    own = {key: _own(plain.pop(key), rank, world_size) for key in PER_RANK if key in plain}
    rest = table.take_out(plain)
    tensor_file = f"tensors-{rank:05d}-of-{world_size:05d}.safetensors"
    entries: dict[str, TensorEntry] = {}
    parts: dict[str, torch.Tensor] = {}
    for name, tensor in table.tensors.items():
        found = local_chunk(tensor)
        if found is not None and (rank == 0 or found[1] is not tensor):
            chunk, parts[name] = found
            placed = Chunk(chunk.offset, chunk.shape, tensor_file)
            entries[name] = TensorEntry(name, str(tensor.dtype)[6:], tuple(tensor.shape), [placed])
    files = {tensor_file: write_tensors(tmp / tensor_file, parts)}
    files[_rank_file(rank)] = write_summed(tmp / _rank_file(rank), lambda file: save_plain(own, file))
    if rank == 0:
        files[_STATE] = write_summed(tmp / _STATE, lambda file: save_plain(rest, file))
        read_file(tmp / _STATE)  # what cannot be read safely is never published
    return files, entries


def _own(items: list[Any], rank: int, world_size: int) -> list[Any]:
    """This rank's item, where a list has those of all ranks."""
    return items[rank : rank + 1] if len(items) == world_size > 1 else items


def _publish(target: Path, tmp: Path, tree: dict[str, Any], reports: list[Any]) -> None:
    meta = tree.get("meta", {})
    counters = {key: meta[key] for key in ("iter", "epoch", "inner_iter") if key in meta}
    manifest = Manifest(counters, len(reports), versions={"torch": torch.__version__, "trainwright": __version__})
    for files, tensors in reports:
        manifest.add(files, tensors)
    write_summed(tmp / NAME, lambda file: file.write(manifest.to_bytes()))
    fsync_dir(tmp)
    if target.exists():
        # Not in place, and never without one of the two: the older one stays a checkpoint until the new one is there.
        aside = temporary(target).name.rpartition("-")[2]
        os.rename(target, target.with_name(f"{target.name}{ASIDE}{aside}"))
    os.rename(tmp, target)
    fsync_dir(target.parent)
    for old in target.parent.glob(f"{target.name}{ASIDE}*"):
        remove_folder(old)


def remove_folder(path: Path) -> None:
    """Delete a step folder: it stops being a checkpoint by one rename, then goes."""
    doomed = temporary(path)
    os.rename(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _rank_file(rank: int) -> str:
    return f"rank-{rank:05d}.pth"


def _device(map_location: MapLocation) -> torch.device:
    """Where torch.load would put a tensor that was saved from the CPU."""
    if callable(map_location):
        return map_location(torch.empty(1).untyped_storage(), "cpu").device  # type: ignore[no-any-return]
    return torch.device(map_location.get("cpu", "cpu") if isinstance(map_location, dict) else map_location or "cpu")
