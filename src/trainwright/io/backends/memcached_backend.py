"""Files through a memcached server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from trainwright.base.errors import UnsupportedOperationError
from trainwright.base.optional import require
from trainwright.io.backends.base import BaseStorageBackend

_INSTALL = "the administrator of the cluster has it (it is in no package index); sys_path=... says where it lies"


class MemcachedBackend(BaseStorageBackend):
    """Reads through the client `mc`. `server_list_cfg` and `client_cfg` are paths of its settings; `sys_path` is put on
    Python's path, for the client.
    """

    def __init__(self, server_list_cfg: Any, client_cfg: Any, sys_path: Any = None) -> None:
        if sys_path is not None:
            sys.path.append(sys_path)
        mc: Any = require("mc", None, "MemcachedBackend", _INSTALL)
        self.server_list_cfg = server_list_cfg
        self.client_cfg = client_cfg
        self._client = mc.MemcachedClient.GetInstance(self.server_list_cfg, self.client_cfg)
        self._mc_buffer = mc.pyvector()

    def get(self, filepath: str | Path) -> Any:
        """The bytes of a file."""
        mc: Any = require("mc", None, "MemcachedBackend", _INSTALL)
        self._client.Get(str(filepath), self._mc_buffer)
        return mc.ConvertBuffer(self._mc_buffer)

    def get_text(self, filepath: Any, encoding: Any = None) -> Any:
        """There is none."""
        raise UnsupportedOperationError("MemcachedBackend gives bytes: use get, and decode them")
