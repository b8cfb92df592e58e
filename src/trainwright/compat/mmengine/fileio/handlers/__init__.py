"""What mmengine.fileio.handlers exports: file formats."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".base": "BaseFileHandler",
        ".json_handler": "JsonHandler",
        ".pickle_handler": "PickleHandler",
        ".registry_utils": "file_handlers register_handler",
        ".yaml_handler": "YamlHandler",
    },
    modules="base json_handler pickle_handler registry_utils yaml_handler",
)
