"""What mmengine.hub exports: configs and models of installed packages."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".hub": "get_config get_model",
    },
    modules="hub",
)
