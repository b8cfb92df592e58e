"""What mmcv.fileio exports."""

from trainwright.compat.exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        ".file_client": ("BaseStorageBackend", "FileClient"),
        ".handlers": ("BaseFileHandler", "JsonHandler", "PickleHandler", "YamlHandler"),
        ".io": ("dump", "load", "register_handler"),
        ".parse": ("dict_from_file", "list_from_file"),
    },
)
