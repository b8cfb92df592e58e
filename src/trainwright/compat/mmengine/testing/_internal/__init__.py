"""What mmengine.testing._internal exports: test cases of several processes."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".distributed": "MultiProcessTestCase",
    },
    modules="distributed",
)
