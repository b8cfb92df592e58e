"""A config as the command line changes it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from trainwright.config import Config, parse_options


def load(config: str, work_dir: str | None, launcher: str, cfg_options: Sequence[str]) -> Config:
    """Read ``config``, apply overrides; the work dir is the option's, the config's, or ``work_dirs/<stem>``."""
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(parse_options(cfg_options), label="--cfg-options")
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = os.path.join("work_dirs", Path(config).stem)
    from trainwright.dist import infer_launcher

    if launcher != "none" or infer_launcher() == "pytorch":  # 'none' is said too where a Runner would find torchrun
        cfg.launcher = launcher
    return cfg
