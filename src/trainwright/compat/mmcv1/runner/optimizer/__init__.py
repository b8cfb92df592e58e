"""What mmcv.runner.optimizer exports."""
