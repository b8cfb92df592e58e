"""A training that a test watches on a terminal: paced by the lines that it is sent, so that every moment can be seen.

Run as ``python terminal_run.py WORK_DIR SCENARIO``. Before each step, and before each batch of validation, it reads a
line from standard input; end of input lets it run on.
"""

import os
import signal
import sys

from trainwright.engine import Hook
from trainwright.runner import Runner
from trainwright.testing.toys import toy_config


class Paced(Hook):
    def wait(self, runner):
        word = sys.stdin.readline().strip()
        if word == "long":
            runner.logger.warning("a long line: " + " ".join(f"word{n}" for n in range(30)))
        elif word == "print":
            sys.stdout.write("printed by somebody\n")
            sys.stdout.flush()
        elif word == "fail":
            raise ZeroDivisionError("a hook failed")
        elif word == "ctrl-c":
            os.kill(os.getpid(), signal.SIGINT)
        elif word == "fork":
            child = os.fork()
            if child == 0:
                sys.stderr.write("from the child\n")
                sys.stderr.flush()
                os._exit(0)
            os.waitpid(child, 0)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.wait(runner)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self.wait(runner)


def main(work_dir, scenario):
    hooks = {"logger": {"type": "LoggerHook", "interval": 1}, "checkpoint": {"type": "CheckpointHook", "interval": -1}}
    train_cfg = {"by_epoch": True, "max_epochs": 2}
    if scenario == "iterations":
        train_cfg = {"by_epoch": False, "max_iters": 300, "val_interval": 300}
    cfg = toy_config(work_dir, train_cfg=train_cfg, custom_hooks=[Paced()], default_hooks=hooks, log_level="INFO")
    Runner.from_cfg(cfg).train()


if __name__ == "__main__":
    main(*sys.argv[1:])
