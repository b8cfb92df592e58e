"""What mmcv.runner.hooks.logger exports."""
