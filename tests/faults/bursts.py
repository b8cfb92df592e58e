"""Trainings in forked processes, to be shot at with signals."""

import os
import random
import signal
import time
import traceback
from pathlib import Path

import torch

from trainwright.base.errors import Interrupted
from trainwright.checkpoint import read_file
from trainwright.runner import Runner
from trainwright.runner.preemption import program
from trainwright.testing.toys import differences, toy_config, toy_loader

RESULT = "result.pt"
EVERY_3 = {"type": "CheckpointHook", "interval": 3, "by_epoch": False, "max_keep_ckpts": 2}


def config(folder, **changes):
    """A run that saves and validates often, and draws at random wherever it can."""
    base = {
        "model": {"type": "ToyModel", "dropout": 0.3, "noisy_eval": True},
        "train_dataloader": toy_loader(24, 4, noise=0.3),
        "val_dataloader": toy_loader(9, 4, shuffle=False, noise=0.1),
        "train_cfg": {"by_epoch": True, "max_epochs": 4},
        "optim_wrapper": {"optimizer": {"type": "AdamW", "lr": 0.02}, "accumulative_counts": 2},
        "default_hooks": {
            "checkpoint": {"type": "CheckpointHook", "interval": 3, "by_epoch": False, "max_keep_ckpts": 2}
        },
        "resume": True,
    }
    return toy_config(folder, **{**base, **changes})


def result(runner):
    """What must be the same, bit for bit, at the end of two runs: all that was trained, and the log."""
    scalars = runner.message_hub.log_scalars
    history = {name: [part.tolist() for part in scalars[name].data] for name in ("train/loss", "val/accuracy/top1")}
    return {**runner.strategy.state_tree(), "history": history}


def started(cfg):
    """The id of a process that trains, and is past the first moment in which a signal would kill it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            torch.set_num_threads(1)
            try:  # around all of the program: a signal that comes before training, or two of them, raise there
                with program():
                    os.write(writer, b"x")
                    runner = Runner.from_cfg(cfg)
                    runner.train()
                    torch.save(result(runner), os.path.join(runner.work_dir, RESULT))
                    code = 0
            except Interrupted as stop:
                code = stop.exit_code
            except BaseException:  # noqa: BLE001 - whatever it is, the parent sees the code
                traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    assert os.read(reader, 1) == b"x"
    os.close(reader)
    return pid


def ended(pid):
    """The exit code; that of a killed process is below 0."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def burst(pid, delay_s, n_signals, gap_s):
    """Send SIGTERM so often, and wait for the end."""
    for n in range(n_signals):
        time.sleep(gap_s if n else delay_s)
        os.kill(pid, signal.SIGTERM)  # a process that has ended, but is not waited for, takes signals too
    return ended(pid)


def newest(folder: Path):
    """The iterations of the newest checkpoint, which is read whole; 0 where there is none."""
    runner_sees = [path for path in folder.glob("*.pth") if not path.name.startswith(".")]
    return max((read_file(str(path))["meta"]["iter"] for path in runner_sees), default=0)


def shoot(folder: Path, n_bursts: int, seed: int, whole_every: int = 8):
    """Runs that are started again until they are complete, each part shot at but for every 8th; what came of it: the
    exit codes, how many checkpoints were lost, what differs from a run in one piece, how many runs came to an end.
    """
    draw = random.Random(seed)
    reference = folder / "reference"
    whole = Runner.from_cfg(config(reference))  # here, so that whatever is imported late is there in all forks
    whole.train()
    began = time.monotonic()
    assert ended(started(config(folder / "second"))) == 0
    length_s = time.monotonic() - began
    expected = result(whole)
    codes: dict[int, int] = {}
    wrong: list[str] = []
    lost = n_runs = done = 0
    for n in range(n_bursts + 1):
        run = folder / f"run{n_runs}"
        if n % whole_every == whole_every - 1 or n == n_bursts:
            pid = started(config(run))
            code = ended(pid)
            assert code == 0
        if n < n_bursts:
            code = burst(started(config(run)), draw.uniform(0, length_s), draw.randint(1, 3), draw.uniform(0, 0.01))
            codes[code] = codes.get(code, 0) + 1
            now = newest(run) if run.exists() else 0
            lost += now < done
            done = now
        if (run / RESULT).exists():
            wrong += differences(expected, torch.load(run / RESULT, weights_only=True))
            n_runs, done = n_runs + 1, 0
    return codes, lost, wrong, n_runs
