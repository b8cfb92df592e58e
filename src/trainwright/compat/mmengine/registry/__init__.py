"""What mmengine.registry exports: registries."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".build_functions": "build_from_cfg build_model_from_cfg build_runner_from_cfg build_scheduler_from_cfg",
        ".default_scope": "DefaultScope",
        ".registry": "Registry",
        ".root": """
            DATASETS DATA_SAMPLERS EVALUATOR FUNCTIONS HOOKS INFERENCERS LOG_PROCESSORS LOOPS METRICS MODELS
            MODEL_WRAPPERS OPTIMIZERS OPTIM_WRAPPERS OPTIM_WRAPPER_CONSTRUCTORS PARAM_SCHEDULERS RUNNERS
            RUNNER_CONSTRUCTORS STRATEGIES TASK_UTILS TRANSFORMS VISBACKENDS VISUALIZERS WEIGHT_INITIALIZERS
        """,
        ".utils": "count_registered_modules init_default_scope traverse_registry_tree",
    },
    modules="build_functions default_scope registry root utils",
)
