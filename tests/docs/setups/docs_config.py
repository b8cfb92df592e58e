"""The files that the configs of docs/config.md inherit from."""

from pathlib import Path

for name, text in {
    "configs/_base_/default_runtime.py": 'log_level = "INFO"\ntest_pipeline = [dict(type="ToTensor")]\n',
    "configs/mine/model.py": 'model = dict(type="Detector", backbone=dict(depth=50, norm=dict(type="BN", eps=1e-3)))\n',
}.items():
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(text, encoding="utf-8")
