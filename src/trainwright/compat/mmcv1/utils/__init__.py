"""What mmcv.utils exports."""
