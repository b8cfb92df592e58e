"""A script of somebody who comes from detectron2: it finds it."""

from pathlib import Path

Path("train_net.py").write_text(
    "from detectron2.engine import SimpleTrainer\n\nassert SimpleTrainer\n", encoding="utf-8"
)
