"""What mmcv.parallel exports."""
