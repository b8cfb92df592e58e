"""Tensors that stay in their files until somebody asks for numbers: of a sharded weight a rank reads its own part."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from trainwright import dist
from trainwright.base.errors import CheckpointError
from trainwright.checkpoint.chunks import Chunk, assembled
from trainwright.checkpoint.manifest import TensorEntry

if TYPE_CHECKING:
    from types import TracebackType


# What asks for the memory itself, and so comes to no operator that could read it first.
ASKS_FOR_MEMORY = (Tensor.numpy, Tensor.tolist, Tensor.data_ptr, Tensor.untyped_storage, Tensor.__array__)


class OpenFiles:
    """The tensor files of a folder, each opened once; numbers are read when a tensor, or a part of it, is asked for.
    ``n_bytes_read`` counts them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, Any] = {}
        self.n_bytes_read = 0

    def __enter__(self) -> OpenFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._open:
            self._open.popitem()[1].__exit__(None, None, None)

    def tensor(self, entry: TensorEntry, wanted: Chunk | None = None) -> Tensor:
        """A tensor, or the box ``wanted`` of it; of its files only what is needed is read."""
        whole = Chunk((0,) * len(entry.shape), entry.shape)
        name = entry.name
        if wanted is None and len(entry.chunks) == 1 and entry.chunks[0].shape == entry.shape:
            found: Tensor = self._file(entry.chunks[0].file).get_tensor(name)
        else:
            sources = ((chunk, self._file(chunk.file).get_slice(name)) for chunk in entry.chunks)
            try:
                found = assembled(wanted or whole, sources, getattr(torch, entry.dtype))
            except LookupError as error:
                raise CheckpointError(
                    f"checkpoint {str(self._folder)!r} is incomplete: of the tensor {name!r} {error}."
                ) from error
        self.n_bytes_read += found.numel() * found.element_size()
        return found

    def _file(self, name: str) -> Any:
        if name not in self._open:
            from safetensors import safe_open

            opened: Any = safe_open(str(self._folder / name), framework="pt", device="cpu")
            self._open[name] = opened.__enter__()
        return self._open[name]


class StoredTensor(Tensor):
    """A tensor of a step folder that has not been read. It has its shape and type, and lies on the CPU.

    ``own.copy_(stored)``, which is how weights are loaded, reads what `own` has of it: where that is sharded, this
    rank's part. Anything else that is done with it reads all of it, and gives plain tensors. It cannot be
    changed in place: CheckpointError.
    """

    _files: OpenFiles
    _entry: TensorEntry

    @staticmethod
    def __new__(cls, files: OpenFiles, entry: TensorEntry) -> StoredTensor:
        dtype = getattr(torch, entry.dtype)
        made: Any = Tensor._make_wrapper_subclass(cls, entry.shape, dtype=dtype, device=torch.device("cpu"))
        made._files, made._entry = files, entry
        return made  # type: ignore[no-any-return]

    def whole(self) -> Tensor:
        """All of it, read now."""
        return self._files.tensor(self._entry)

    def laid_out_as(self, like: Any) -> Tensor:
        """Spread as `like` is, of which this rank reads its own part; all of it for a plain one."""
        if not dist.is_sharded(like):
            return self.whole()
        return dist.own_part(self, like, lambda at, shape: self._files.tensor(self._entry, Chunk(at, shape)))  # type: ignore[no-any-return]

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return copy.deepcopy(self.whole(), memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.whole().__reduce_ex__(protocol)

    def __repr__(self, **options: Any) -> str:  # type: ignore[override]
        return f"StoredTensor({self._entry.name!r}, shape={tuple(self.shape)}, dtype={self.dtype})"

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.copy_ and isinstance(args[1], StoredTensor):
            args = (args[0], args[1].laid_out_as(args[0]), *args[2:])
        elif func in ASKS_FOR_MEMORY:
            args = tree_map(_read, args)
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **(kwargs or {}))
        return _read(result)  # such as Tensor.to: where it changes nothing it gives back the tensor itself

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func._schema.is_mutable and args and isinstance(args[0], StoredTensor):
            raise CheckpointError(
                f"the tensor {args[0]._entry.name!r} of a checkpoint lies in its file and cannot be changed in place "
                f"({func}): put another one in its place in the checkpoint, such as tensor * 2."
            )
        args, kwargs = tree_map(_read, (args, kwargs or {}))
        return func(*args, **kwargs)


def _read(value: Any) -> Any:
    return value.whole() if isinstance(value, StoredTensor) else value
