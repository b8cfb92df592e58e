"""What mmcv.engine exports."""
