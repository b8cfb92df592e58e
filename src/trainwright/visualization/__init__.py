"""What a run writes down for people to look at: scalars, its config, pictures, curves."""

from trainwright.visualization.curves import Curves, draw_curves, read_curves
from trainwright.visualization.vis_backend import BaseVisBackend, LocalVisBackend
from trainwright.visualization.visualizer import Visualizer

__all__ = ["BaseVisBackend", "Curves", "LocalVisBackend", "Visualizer", "draw_curves", "read_curves"]
