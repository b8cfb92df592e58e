"""What mmengine.config exports: configs."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".config": "Config ConfigDict DictAction read_base",
    },
    modules="config lazy utils",
)
