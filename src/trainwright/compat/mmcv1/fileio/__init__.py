"""What mmcv.fileio exports."""
