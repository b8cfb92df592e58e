"""Names of mmengine.optim.optimizer.zero_optimizer. The class derives from torch's, which loads slowly."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(__name__, {"trainwright.optim.zero": "ZeroRedundancyOptimizer"})
