"""Names of mmengine.visualization.vis_backend."""

from trainwright.visualization.trackers.aim import AimVisBackend
from trainwright.visualization.trackers.clearml import ClearMLVisBackend
from trainwright.visualization.trackers.dvclive import DVCLiveVisBackend
from trainwright.visualization.trackers.mlflow import MLflowVisBackend
from trainwright.visualization.trackers.neptune import NeptuneVisBackend
from trainwright.visualization.trackers.tensorboard import TensorboardVisBackend
from trainwright.visualization.trackers.wandb import WandbVisBackend
from trainwright.visualization.vis_backend import BaseVisBackend, LocalVisBackend, force_init_env

__all__ = [
    "AimVisBackend",
    "BaseVisBackend",
    "ClearMLVisBackend",
    "DVCLiveVisBackend",
    "LocalVisBackend",
    "MLflowVisBackend",
    "NeptuneVisBackend",
    "TensorboardVisBackend",
    "WandbVisBackend",
    "force_init_env",
]
