"""Predictions to a file, for a look at them or for ``Evaluator.offline_evaluate``."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainwright.base.errors import ConfigError
from trainwright.base.logs import print_log
from trainwright.evaluation.metric import BaseMetric, to_cpu
from trainwright.io import publish
from trainwright.registry import METRICS


@METRICS.register_module()
class DumpResults(BaseMetric):
    """Writes the predictions of all ranks, in dataset order and on the CPU, to a pickle file; it gives no metric.

    `out_file_path` ends with .pkl or .pickle. It is the format that tools for MMEngine read. Writing a pickle runs no
    code; reading one may, so read back only what you wrote yourself.
    """

    default_prefix = ""

    def __init__(self, out_file_path: str, collect_device: str = "cpu", collect_dir: str | None = None) -> None:
        super().__init__(collect_device=collect_device, collect_dir=collect_dir)
        if not str(out_file_path).endswith((".pkl", ".pickle")):
            raise ConfigError(f"The output file must be a pkl file. DumpResults got out_file_path={out_file_path!r}")
        self.out_file_path = out_file_path

    def process(self, data_batch: Any, predictions: Sequence[Any]) -> None:
        """Keep the predictions of a batch, on the CPU."""
        self.results.extend(to_cpu(list(predictions)))

    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        """Write the file: under another name first, so that nobody reads half of it."""
        path = Path(self.out_file_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        publish(path, lambda file: pickle.dump(results, file, protocol=4))
        print_log(f"{len(results)} predictions were written to {path}", "current")
        return {}
