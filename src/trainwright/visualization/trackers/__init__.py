"""Writers for experiment trackers. The package of one is imported when something is first written to it."""

from trainwright.visualization.trackers.aim import AimVisBackend
from trainwright.visualization.trackers.base import Tracker
from trainwright.visualization.trackers.clearml import ClearMLVisBackend
from trainwright.visualization.trackers.dvclive import DVCLiveVisBackend
from trainwright.visualization.trackers.mlflow import MLflowVisBackend
from trainwright.visualization.trackers.neptune import NeptuneVisBackend
from trainwright.visualization.trackers.swanlab import SwanLabVisBackend
from trainwright.visualization.trackers.tensorboard import TensorboardVisBackend
from trainwright.visualization.trackers.wandb import WandbVisBackend

__all__ = [
    "AimVisBackend",
    "ClearMLVisBackend",
    "DVCLiveVisBackend",
    "MLflowVisBackend",
    "NeptuneVisBackend",
    "SwanLabVisBackend",
    "TensorboardVisBackend",
    "Tracker",
    "WandbVisBackend",
]
