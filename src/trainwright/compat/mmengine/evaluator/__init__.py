"""What mmengine.evaluator exports: evaluation."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".evaluator": "Evaluator",
        ".metric": "BaseMetric DumpResults",
        ".utils": "get_metric_value",
    },
    modules="evaluator metric utils",
)
