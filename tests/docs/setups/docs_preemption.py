"""The config that the jobs of docs/preemption.md train."""

from pathlib import Path

Path("config.py").write_text('_base_ = "configs/digits/cnn.py"\n', encoding="utf-8")
