"""What mmengine.fileio.backends exports: storage backends."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".base": "BaseStorageBackend",
        ".http_backend": "HTTPBackend",
        ".lmdb_backend": "LmdbBackend",
        ".local_backend": "LocalBackend",
        ".memcached_backend": "MemcachedBackend",
        ".petrel_backend": "PetrelBackend",
        ".registry_utils": "backends prefix_to_backends register_backend",
    },
    modules="base http_backend lmdb_backend local_backend memcached_backend petrel_backend registry_utils",
)
