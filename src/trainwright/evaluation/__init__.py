"""Metrics over predictions of all ranks, no sample counted twice."""

from trainwright.evaluation.accuracy import Accuracy
from trainwright.evaluation.dump import DumpResults
from trainwright.evaluation.evaluator import Evaluator, get_metric_value
from trainwright.evaluation.metric import BaseMetric
from trainwright.evaluation.torch_metric import TorchMetric

__all__ = ["Accuracy", "BaseMetric", "DumpResults", "Evaluator", "TorchMetric", "get_metric_value"]
