"""What mmengine.visualization exports: visualizers and their backends."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".vis_backend": """
            AimVisBackend BaseVisBackend ClearMLVisBackend DVCLiveVisBackend LocalVisBackend MLflowVisBackend
            NeptuneVisBackend TensorboardVisBackend WandbVisBackend
        """,
        ".visualizer": "Visualizer",
    },
    modules="utils vis_backend visualizer",
)
