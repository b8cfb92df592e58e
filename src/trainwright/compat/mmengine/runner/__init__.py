"""What mmengine.runner exports: runners, loops and checkpoints."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        "._flexible_runner": "FlexibleRunner",
        ".activation_checkpointing": "turn_on_activation_checkpointing",
        ".amp": "autocast",
        ".base_loop": "BaseLoop",
        ".checkpoint": """
            CheckpointLoader find_latest_checkpoint get_deprecated_model_names get_external_models
            get_mmcls_models get_state_dict get_torchvision_models load_checkpoint load_state_dict
            save_checkpoint weights_to_cpu
        """,
        ".log_processor": "LogProcessor",
        ".loops": "EpochBasedTrainLoop IterBasedTrainLoop TestLoop ValLoop",
        ".priority": "Priority get_priority",
        ".runner": "Runner",
        ".utils": "set_random_seed",
    },
    modules="""
        _flexible_runner activation_checkpointing amp base_loop checkpoint log_processor loops priority
        runner utils
    """,
)
