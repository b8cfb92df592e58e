"""A training with one tracker, in a process of its own: ``python tracked_training.py '{"work_dir": ...}'``."""

import json
import os
import signal
import sys
import warnings
from pathlib import Path

from trainwright import Runner
from trainwright.engine import Hook
from trainwright.testing.toys import toy_config


class KillService(Hook):
    """Kills what serves the tracker, a child of this process, after the third iteration."""

    def __init__(self, name):
        self.name = name

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 2:
            found = [pid for pid in children(os.getpid()) if self.name in command(pid)]
            assert found, f"no {self.name} among the children"
            for pid in found:
                os.kill(pid, signal.SIGKILL)


def command(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")


def children(pid):
    near = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return [*near, *(far for child in near for far in children(child))]


def train(work_dir, backend=None, epochs=3, interval=2, resume=None, kill=None, timeout_s=60.0):
    warnings.simplefilter("ignore")
    hooks = {
        "logger": {"type": "LoggerHook", "interval": interval},
        "checkpoint": {"type": "CheckpointHook", "interval": 1},
    }
    backends = [{"type": "LocalVisBackend"}, *([backend] if backend else [])]
    cfg = toy_config(
        work_dir,
        train_cfg={"by_epoch": True, "max_epochs": epochs},
        default_hooks=hooks,
        custom_hooks=[KillService(kill)] if kill else None,
        visualizer={"type": "Visualizer", "vis_backends": backends, "writer_timeout_s": timeout_s},
        load_from=resume,
        resume=bool(resume),
        # more values than MLflow takes at once, and a name that it does not take
        notes={f"note {n}*": [n] for n in range(120)},
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    return [name for name, guard in runner.visualizer._guards.items() if guard.is_dropped]


if __name__ == "__main__":
    sys.stderr.write(f"\ndropped: {train(**json.loads(sys.argv[1]))}\n")
