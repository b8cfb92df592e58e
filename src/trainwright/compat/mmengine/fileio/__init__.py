"""What mmengine.fileio exports: files and storage."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".backends": """
            BaseStorageBackend HTTPBackend LmdbBackend LocalBackend MemcachedBackend PetrelBackend
            register_backend
        """,
        ".file_client": "FileClient HardDiskBackend",
        ".handlers": "BaseFileHandler JsonHandler PickleHandler YamlHandler register_handler",
        ".io": """
            copy_if_symlink_fails copyfile copyfile_from_local copyfile_to_local copytree copytree_from_local
            copytree_to_local dump exists generate_presigned_url get get_file_backend get_local_path get_text
            isdir isfile join_path list_dir_or_file load put put_text remove rmtree
        """,
        ".parse": "dict_from_file list_from_file",
    },
    modules="backends file_client handlers io parse",
)
