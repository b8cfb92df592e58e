"""Scripts of somebody who comes from MMCV 1.x: they find it."""

from pathlib import Path

Path("mypackage").mkdir()
for name in ("train.py", "mypackage/train.py"):
    Path(name).write_text("from mmcv.runner import EpochBasedRunner\n\nassert EpochBasedRunner\n", encoding="utf-8")
