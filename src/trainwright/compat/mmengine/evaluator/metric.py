"""Names of mmengine.evaluator.metric."""

from trainwright.evaluation.dump import DumpResults
from trainwright.evaluation.metric import BaseMetric

__all__ = ["BaseMetric", "DumpResults"]
