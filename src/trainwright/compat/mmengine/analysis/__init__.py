"""What mmengine.analysis exports: the analysis of models."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".complexity_analysis": """
            ActivationAnalyzer FlopAnalyzer activation_count flop_count parameter_count parameter_count_table
        """,
        ".print_helper": "get_model_complexity_info",
    },
    modules="complexity_analysis jit_analysis jit_handles print_helper",
)
