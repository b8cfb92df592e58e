"""A bad step that the guard has recorded, and the function that made its runner."""

import contextlib
from pathlib import Path

from trainwright import Runner
from trainwright.base.errors import TrainwrightError
from trainwright.config import Config
from trainwright.testing.toys import toy_config


def make_runner(work_dir):
    cfg = Config(toy_config(work_dir, custom_imports={"imports": ["trainwright.testing.toys"]}))
    cfg.train_dataloader.dataset.nan_at = 5
    cfg.custom_hooks = [{"type": "LossGuardHook", "policy": "stop"}]
    return Runner.from_cfg(cfg)


with contextlib.suppress(TrainwrightError):
    make_runner("work_dir").train()
(recorded,) = Path("work_dir/bad_steps").iterdir()
recorded.rename("work_dir/bad_steps/iter_1234")
