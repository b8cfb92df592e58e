"""Files by http and https."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainwright.io.backends.base import BaseStorageBackend
from trainwright.io.backends.listing import local_copy
from trainwright.io.backends.local_backend import LocalBackend

_GONE = (404, 410)
_NO_HEAD = (403, 405, 501)  # a server that answers only who wants the file


def urlopen(*args: Any, **kwargs: Any) -> Any:
    """That of urllib, which takes long to import."""
    from urllib.request import urlopen

    return urlopen(*args, **kwargs)


class HTTPBackend(BaseStorageBackend):
    """Reading by URL."""

    def get(self, filepath: str) -> bytes:
        """The bytes of the reply."""
        reply = urlopen(filepath)
        try:
            data: bytes = reply.read()
        finally:
            reply.close()
        return data

    def get_text(self, filepath: Any, encoding: str = "utf-8") -> str:
        """The reply as text."""
        return self.get(filepath).decode(encoding)

    @contextmanager
    def get_local_path(self, filepath: str) -> Iterator[str | Path]:
        """A copy on this machine, deleted at the end of the block."""
        with local_copy(self.get(filepath), str(filepath)) as path:
            yield path

    def exists(self, filepath: str) -> bool:
        """Whether the server has it; HTTPError where it will not say."""
        error = _refusal(filepath, "HEAD")
        if error is not None and error.code in _NO_HEAD:
            error = _refusal(filepath, "GET")
        if error is not None and error.code not in _GONE:
            raise error
        return error is None

    def isfile(self, filepath: str) -> bool:
        """As `exists`: a server has no folders."""
        return self.exists(filepath)

    def join_path(self, filepath: str, *filepaths: str) -> str:
        """The parts with one slash between each."""
        return "/".join([filepath.rstrip("/"), *(part.strip("/") for part in filepaths)])

    def copyfile_to_local(self, src: str, dst: str | Path) -> str | Path:
        """Download to `dst`, or into it if it is a folder; returns where it is."""
        target = Path(dst) / src.partition("?")[0].rpartition("/")[2] if Path(dst).is_dir() else dst
        LocalBackend().put(self.get(src), target)
        return target if isinstance(dst, Path) else str(target)


def _refusal(url: str, method: str) -> Any:
    """The error that the server answers with; None if it has none."""
    from urllib.error import HTTPError
    from urllib.request import Request

    try:
        urlopen(Request(url, method=method)).close()
    except HTTPError as error:
        error.close()
        return error
    return None
