"""What a model costs: multiply-adds, activations and parameters, by module and by operator, as numbers and as tables.

Importing the room imports neither torch nor rich: a name brings its module when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainwright.analysis.complexity_analysis import (
        ActivationAnalyzer,
        FlopAnalyzer,
        activation_count,
        flop_count,
        parameter_count,
        parameter_count_table,
    )
    from trainwright.analysis.jit_analysis import JitModelAnalysis
    from trainwright.analysis.jit_handles import attention_flop_jit
    from trainwright.analysis.report import complexity_stats_str, complexity_stats_table, get_model_complexity_info

_HOMES = {
    "complexity_analysis": (
        "ActivationAnalyzer",
        "FlopAnalyzer",
        "activation_count",
        "flop_count",
        "parameter_count",
        "parameter_count_table",
    ),
    "jit_analysis": ("JitModelAnalysis",),
    "jit_handles": ("attention_flop_jit",),
    "report": ("complexity_stats_str", "complexity_stats_table", "get_model_complexity_info"),
}

__all__ = [
    "ActivationAnalyzer",
    "FlopAnalyzer",
    "JitModelAnalysis",
    "activation_count",
    "attention_flop_jit",
    "complexity_stats_str",
    "complexity_stats_table",
    "flop_count",
    "get_model_complexity_info",
    "parameter_count",
    "parameter_count_table",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
