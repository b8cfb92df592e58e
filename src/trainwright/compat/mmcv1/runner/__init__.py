"""What mmcv.runner exports."""
