"""Names of mmengine.model.wrappers.fully_sharded_distributed. The class derives from torch's, which loads slowly."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(__name__, {"trainwright.model.fully_sharded": "MMFullyShardedDataParallel"})
