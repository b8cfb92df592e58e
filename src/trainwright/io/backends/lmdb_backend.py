"""The values of an LMDB database by their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainwright.base.errors import UnsupportedOperationError
from trainwright.base.optional import require
from trainwright.io.backends.base import BaseStorageBackend


class LmdbBackend(BaseStorageBackend):
    """Opens the database at `db_path` when the first value is read. `kwargs` go to `lmdb.open`."""

    def __init__(
        self, db_path: Any, readonly: bool = True, lock: bool = False, readahead: bool = False, **kwargs: Any
    ) -> None:
        require("lmdb", None, "LmdbBackend", "pip install lmdb")
        self.db_path = str(db_path)
        self.readonly = readonly
        self.lock = lock
        self.readahead = readahead
        self.kwargs = kwargs
        self._client: Any = None

    def get(self, filepath: str | Path) -> Any:
        """The bytes under that key; None if there is none."""
        if self._client is None:
            self._client = self._get_client()
        with self._client.begin(write=False) as transaction:
            return transaction.get(str(filepath).encode("utf-8"))

    def get_text(self, filepath: Any, encoding: Any = None) -> Any:
        """There is none."""
        raise UnsupportedOperationError("LmdbBackend gives bytes: use get, and decode them")

    def _get_client(self) -> Any:
        lmdb = require("lmdb", None, "LmdbBackend", "pip install lmdb")
        return lmdb.open(self.db_path, readonly=self.readonly, lock=self.lock, readahead=self.readahead, **self.kwargs)

    def __del__(self) -> None:
        if getattr(self, "_client", None) is not None:
            self._client.close()
