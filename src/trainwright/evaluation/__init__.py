"""Metrics over predictions of all ranks, no sample counted twice."""

from trainwright.evaluation.accuracy import Accuracy
from trainwright.evaluation.evaluator import Evaluator
from trainwright.evaluation.metric import BaseMetric

__all__ = ["Accuracy", "BaseMetric", "Evaluator"]
