"""What a run writes down for people to look at: scalars, its config, pictures, curves."""

from trainwright.visualization.curves import Curves, draw_curves, read_curves
from trainwright.visualization.scalars import Scalars, read_run, read_scalars
from trainwright.visualization.trackers import (
    AimVisBackend,
    ClearMLVisBackend,
    DVCLiveVisBackend,
    MLflowVisBackend,
    NeptuneVisBackend,
    SwanLabVisBackend,
    TensorboardVisBackend,
    WandbVisBackend,
)
from trainwright.visualization.vis_backend import BaseVisBackend, LocalVisBackend
from trainwright.visualization.visualizer import Visualizer

__all__ = [
    "AimVisBackend",
    "BaseVisBackend",
    "ClearMLVisBackend",
    "Curves",
    "DVCLiveVisBackend",
    "LocalVisBackend",
    "MLflowVisBackend",
    "NeptuneVisBackend",
    "Scalars",
    "SwanLabVisBackend",
    "TensorboardVisBackend",
    "Visualizer",
    "WandbVisBackend",
    "draw_curves",
    "read_curves",
    "read_run",
    "read_scalars",
]
