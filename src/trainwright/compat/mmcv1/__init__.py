"""MMCV 1.x's runners and what belongs to them, under the module tree of mmcv."""
