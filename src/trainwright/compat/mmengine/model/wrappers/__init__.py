"""What mmengine.model.wrappers exports: model wrappers."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".distributed": "MMDistributedDataParallel",
        ".seperate_distributed": "MMSeparateDistributedDataParallel",
        ".utils": "is_model_wrapper",
        ".fully_sharded_distributed": "MMFullyShardedDataParallel",
    },
    modules="distributed fully_sharded_distributed seperate_distributed utils",
)
