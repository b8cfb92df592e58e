"""Names of mmengine.evaluator.metric."""

from trainwright.evaluation.dump import DumpResults
from trainwright.evaluation.metric import BaseMetric, _to_cpu

__all__ = ["BaseMetric", "DumpResults", "_to_cpu"]
