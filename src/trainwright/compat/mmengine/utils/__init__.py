"""What mmengine.utils exports: utilities."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".manager": "ManagerMeta ManagerMixin",
        ".misc": """
            apply_to check_prerequisites concat_list deprecated_api_warning deprecated_function
            get_object_from_string has_method import_modules_from_strings is_list_of is_method_overridden
            is_seq_of is_str is_tuple_of iter_cast list_cast requires_executable requires_package slice_list
            to_1tuple to_2tuple to_3tuple to_4tuple to_ntuple tuple_cast
        """,
        ".package_utils": "call_command get_installed_path install_package is_installed",
        ".path": "check_file_exist fopen is_abs is_filepath mkdir_or_exist scandir symlink",
        ".progressbar": "ProgressBar track_iter_progress track_parallel_progress track_progress",
        ".progressbar_rich": "track_progress_rich",
        ".timer": "Timer TimerError check_time",
        ".version_utils": "digit_version get_git_hash",
    },
    modules="dl_utils manager misc package_utils path progressbar progressbar_rich timer version_utils",
)
