"""The storage of a hook's ``out_dir``, under MMEngine's names."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from trainwright.io import FileClient, get_file_backend


class HasStorage:
    """``file_backend``, and ``file_client`` for code that still uses it: what stores in ``storage_dir``, as
    ``backend_args`` or under their old name ``file_client_args`` say, else by its URL. Made when they are asked for."""

    storage_dir: Any = None
    file_client_args: dict[str, Any] | None = None
    backend_args: dict[str, Any] | None = None

    @cached_property
    def file_client(self) -> Any:
        """The client of the older API."""
        return FileClient.infer_client(self.file_client_args, self.storage_dir)

    @cached_property
    def file_backend(self) -> Any:
        """The storage."""
        if self.file_client_args is not None:
            return self.file_client
        return get_file_backend(self.storage_dir, backend_args=self.backend_args)
