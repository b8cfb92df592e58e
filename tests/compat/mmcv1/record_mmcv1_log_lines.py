"""Writes mmcv1_log_lines.json with MMCV 1.7.2, in the environment of ``make peers-mmcv1``."""

import json
import tempfile

from mmcv1_log_lines import RECORDED, all_lines
from mmcv1_suite import peer_installed

if __name__ == "__main__":
    with peer_installed() as mmcv, tempfile.TemporaryDirectory() as folder:
        lines = all_lines(mmcv.runner.TextLoggerHook, mmcv.runner.LogBuffer, folder)
    RECORDED.write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
