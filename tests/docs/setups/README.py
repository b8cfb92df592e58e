"""What lies in the folder of somebody who reads README.md: a script of his own, and the checkpoint of `make demo`."""

import subprocess
from pathlib import Path

Path("train.py").write_text(
    "from importlib.util import find_spec\nassert any(map(find_spec, ('mmcv', 'detectron2', 'mmengine')))\n",
    encoding="utf-8",
)
TRAIN = "trainwright train configs/digits/cnn.py --work-dir work_dirs/digits --cfg-options train_cfg.max_epochs=1"
subprocess.run(["bash", "-c", TRAIN], check=True)
Path("work_dirs/digits/epoch_1.pth").rename("work_dirs/digits/epoch_20.pth")
