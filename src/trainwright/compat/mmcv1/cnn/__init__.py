"""What mmcv.cnn exports, as far as training needs it."""
