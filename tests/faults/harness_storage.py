"""A storage that refuses: calls of the operating system that fail for as long as a test wants."""

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from trainwright.checkpoint import tensor_files
from trainwright.io import atomic

CODES = {"full": errno.ENOSPC, "failing": errno.EIO, "forbidden": errno.EACCES}
TAKES_BYTES = 3000


def half_written(folder: str | os.PathLike[str]) -> list[str]:
    """What a save leaves in a folder that was cut off."""
    return sorted(name for name in os.listdir(folder) if name.startswith((".tmp-", ".del-")) or ".old-" in name)


class Refusing:
    """While ``on``, the wrapped calls raise an OSError; ``n`` counts them."""

    def __init__(self, code: int) -> None:
        self.code, self.on, self.n = code, False, 0

    def refuse(self) -> None:
        self.n += 1
        raise OSError(self.code, os.strerror(self.code))

    def wrapped(self, real):
        """``real``, refused while on."""

        def call(*args, **kwargs):
            if self.on:
                self.refuse()
            return real(*args, **kwargs)

        return call

    def with_limit(self, real):
        """``write_durably`` whose files take TAKES_BYTES and no more, while on."""
        return lambda path, write, *durable: real(path, lambda file: write(LimitedFile(file, self)), *durable)


class LimitedFile:
    """A file on a disk that becomes full, in the middle of a write."""

    def __init__(self, file, state: Refusing) -> None:
        self._file, self._state, self._left = file, state, TAKES_BYTES

    def write(self, data):
        if self._state.on and len(data) > self._left:
            self._file.write(bytes(data[: max(self._left, 0)]))
            self._state.refuse()
        self._left -= len(data)
        return self._file.write(data)

    def flush(self):
        self._file.flush()


@contextmanager
def refusing(call: str, code: int) -> Iterator[Refusing]:
    """Calls of that kind (write, fsync or rename) can be made to fail within the block."""
    state = Refusing(code)
    with ExitStack() as stack:
        for name in {"fsync": ["fsync"], "rename": ["replace", "rename"], "write": []}[call]:
            stack.enter_context(mock.patch.object(os, name, state.wrapped(getattr(os, name))))
        if call == "write":
            limited = state.with_limit(atomic.write_durably)
            for place in (atomic, tensor_files):
                stack.enter_context(mock.patch.object(place, "write_durably", limited))
        yield state
