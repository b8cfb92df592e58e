"""The scripts of a project, and a config of one's own."""

from pathlib import Path

Path("tools").mkdir()
for name in ("tools/train.py", "tools/test.py", "resnet18.py"):
    Path(name).touch()
