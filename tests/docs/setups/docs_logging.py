"""The run that docs/logging.md reads."""

import subprocess

TRAIN = "trainwright train configs/digits/cnn.py --work-dir work_dirs/digits --cfg-options train_cfg.max_epochs=1"
subprocess.run(["bash", "-c", TRAIN], check=True)
