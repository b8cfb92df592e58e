"""What mmengine.dist exports: collectives and the facts of a process."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".dist": """
            all_gather all_gather_object all_reduce all_reduce_dict all_reduce_params broadcast
            broadcast_object_list collect_results collect_results_cpu collect_results_gpu gather gather_object
            sync_random_seed
        """,
        ".utils": """
            barrier cast_data_device get_backend get_comm_device get_data_device get_default_group
            get_dist_info get_local_group get_local_rank get_local_size get_rank get_world_size infer_launcher
            init_dist init_local_group is_distributed is_main_process master_only
        """,
    },
    modules="dist utils",
)
