"""Scenarios whose log lines and JSON lines tools read: the same calls for MMCV 1.7.2's text logger and for ours."""

import json
import os
import types
from pathlib import Path
from unittest import mock

import numpy as np
import torch

RECORDED = Path(__file__).with_name("mmcv1_log_lines.json")

# settings of the hook, then of the run
SCENARIOS = {
    "epochs": ({"interval": 2}, {}),
    "epochs_with_all_ends": ({"interval": 2, "ignore_last": False}, {"exp_name": "mine"}),
    "epochs_of_several_optimizers": ({"interval": 3}, {"lr": {"g": [0.02, 1.0], "d": [3e-7]}}),
    "iterations": ({"interval": 2, "by_epoch": False}, {"exp_name": "mine"}),
    "iterations_of_several_optimizers": ({"interval": 5, "by_epoch": False}, {"lr": {"g": [0.1], "d": [0.5]}}),
    "names_of_experiments": ({"interval": 4, "by_epoch": False, "interval_exp_name": 3}, {"exp_name": "mine"}),
    "without_times": ({"interval": 2}, {"times": False}),
    "without_meta": ({"interval": 4}, {"meta": None}),
    "resumed": ({"interval": 2}, {"iter": 5, "epoch": 1}),
}
N_EPOCHS, LENGTH = 3, 5


class Kept:
    """A logger that keeps its lines."""

    def __init__(self):
        self.lines = []

    def info(self, message, *args):
        self.lines.append(message % args if args else message)


def fake_runner(log_buffer, folder, lr=None, exp_name=None, meta=(), **state):
    """What a text logger asks of a runner."""
    meta = None if meta is None else {"seed": 3, "lr": 0.1234567, "betas": [0.1234567, 2]}
    if meta is not None and exp_name is not None:
        meta["exp_name"] = exp_name
    runner = types.SimpleNamespace(
        log_buffer=log_buffer, work_dir=str(folder), meta=meta, timestamp="20260102_030405", logger=Kept(), mode="train"
    )
    vars(runner).update(rank=0, world_size=1, model=torch.nn.Linear(1, 1), data_loader=range(LENGTH), inner_iter=0)
    vars(runner).update(max_iters=N_EPOCHS * LENGTH, _max_iters=N_EPOCHS * LENGTH, _max_epochs=N_EPOCHS)
    vars(runner).update({"iter": 0, "epoch": 0, **state})
    runner.current_lr = lambda: [0.05, 0.5] if lr is None else lr
    runner.current_momentum = lambda: [0.9, 0.9]
    return runner


def lines_of(name, text_logger, log_buffer, folder):
    """The lines of one scenario: of the log, and of the JSON file."""
    settings, run = SCENARIOS[name]
    run = dict(run)
    times = run.pop("times", True)
    runner, hook = fake_runner(log_buffer(), folder, **run), text_logger(**settings)
    runner.hooks = [hook]
    with mock.patch.object(torch.cuda, "is_available", return_value=False):
        hook.before_run(runner)
        while runner.epoch < N_EPOCHS:
            _epoch(runner, hook, times)
        hook.after_run(runner)
    file = Path(runner.work_dir) / f"{runner.timestamp}.log.json"
    json_lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {"log": runner.logger.lines, "json": json_lines}


def _epoch(runner, hook, times):
    buffer = runner.log_buffer
    runner.mode = "train"
    hook.before_train_epoch(runner)
    for runner.inner_iter in range(LENGTH):
        n = runner.iter + 1
        timed = {"data_time": 0.0123456 * n, "time": 0.3333333 * n} if times else {}
        buffer.update(timed)
        buffer.update({"loss": 100.0 / n, "grad_norm": 1e-7 * n, "acc": n}, 4)
        hook.after_train_iter(runner)
        runner.iter += 1
    hook.after_train_epoch(runner)
    # as an evaluation by a hook leaves it
    buffer.output["eval_iter_num"] = 7
    buffer.output.update(top1=0.98765432, n=3, note="text", single=np.float32(0.1), classes=[0.123456789, 1], none=None)
    buffer.output["worst"] = float("nan")
    buffer.ready = True
    hook.after_train_epoch(runner)
    runner.epoch += 1
    # as the second phase of a workflow
    runner.mode = "val"
    hook.before_val_epoch(runner)
    for runner.inner_iter in range(2):
        buffer.update({"val_loss": 1.5 * runner.epoch + runner.inner_iter}, runner.inner_iter + 1)
    hook.after_val_epoch(runner)


def all_lines(text_logger, log_buffer, folder):
    """Of every scenario."""
    found = {}
    for name in SCENARIOS:
        os.makedirs(os.path.join(folder, name))
        found[name] = lines_of(name, text_logger, log_buffer, os.path.join(folder, name))
    return found


def recorded():
    """What MMCV 1.7.2 wrote."""
    return json.loads(RECORDED.read_text(encoding="utf-8"))
