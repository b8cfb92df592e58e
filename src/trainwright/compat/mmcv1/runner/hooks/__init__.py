"""What mmcv.runner.hooks exports."""
