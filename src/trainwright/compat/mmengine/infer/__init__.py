"""What mmengine.infer exports: inference."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".infer": "BaseInferencer",
    },
    modules="infer",
)
