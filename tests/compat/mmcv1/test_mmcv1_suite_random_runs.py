"""Runs with settings drawn at random leave the same weights, files and log lines as MMCV 1.7.2's."""

import json
import logging
import os
import random
import re
import warnings

import pytest
import torch
from mmcv1_suite import face_installed, peer_installed
from torch import nn
from torch.utils.data import DataLoader, Dataset

TIMES = re.compile(r"(eta|time|data_time): [^,]*, ")


class Rows(Dataset):
    """Rows that differ; each evaluation has another score."""

    def __init__(self, n_rows):
        self.n_rows, self.n_evaluations = n_rows, 0

    def __len__(self):
        return self.n_rows

    def __getitem__(self, index):
        return {"x": torch.full((2,), float(index))}

    def evaluate(self, results, logger=None):
        self.n_evaluations += 1
        return {"acc": self.n_evaluations * 7 % 5 / 5 + 0.1}


class Counting(nn.Module):
    """It reports the number of its steps, and in every other one something else."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(2, 1)
        self.n_steps = 0

    def train_step(self, data, optimizer=None, **kwargs):
        self.n_steps += 1
        told = {"steps": float(self.n_steps), **({"odd": 1.0} if self.n_steps % 2 else {})}
        loss = self.layer(data["x"]).mean() * 0.01
        return {"loss": loss, "log_vars": told, "num_samples": self.n_steps % 3 + 1}

    val_step = train_step


class Lines(logging.Handler):
    """The lines of losses, without times."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        message = record.getMessage()
        if message.startswith(("Epoch", "Iter")):
            self.lines.append(TIMES.sub("", message))


def a_schedule(draw, by_epoch):
    warm_up = {"warmup": draw.choice(["linear", "exp", "constant"]), "warmup_iters": draw.randint(1, 6)}
    return draw.choice(
        [
            {"policy": "step", "step": [1, 2]},
            {"policy": "exp", "gamma": 0.9, "by_epoch": False},
            {"policy": "poly", "by_epoch": by_epoch},
            {"policy": "CosineAnnealing", "min_lr": 0, "by_epoch": False, **warm_up},
        ]
    )


def a_run(mmcv, draw, work_dir, logger):
    """A runner and what to run, as ``draw`` has it."""
    by_epoch, model = draw.random() < 0.5, Counting()
    kind, length = ("EpochBasedRunner", "max_epochs") if by_epoch else ("IterBasedRunner", "max_iters")
    runner = getattr(mmcv.runner, kind)(
        model,
        optimizer=torch.optim.SGD(model.parameters(), 0.1, momentum=0.9),
        work_dir=str(work_dir),
        logger=logger,
        meta=draw.choice([None, {}]),
        **{length: draw.randint(1, 4) if by_epoch else draw.randint(1, 20)},
    )
    runner.register_timer_hook({"type": "IterTimerHook"})
    runner.register_lr_hook(a_schedule(draw, by_epoch))
    accumulate = {"type": "GradientCumulativeOptimizerHook", "cumulative_iters": draw.randint(1, 4)}
    runner.register_optimizer_hook(draw.choice([{}, accumulate, {"grad_clip": {"max_norm": 0.01}}]))
    keep = {"max_keep_ckpts": draw.choice([-1, 1, 2]), "save_last": draw.random() < 0.5}
    runner.register_checkpoint_hook({"interval": draw.randint(1, 4), "by_epoch": by_epoch, **keep})
    texts = [
        {"type": "TextLoggerHook", "ignore_last": draw.random() < 0.5, "reset_flag": draw.random() < 0.5}
        for _ in range(draw.randint(1, 2))
    ]
    hooks = [{**text, "by_epoch": by_epoch} for text in texts]
    runner.register_logger_hooks({"interval": draw.randint(1, 5), "hooks": hooks})
    if draw.random() < 0.6:
        when = {"interval": draw.randint(1, 3), "by_epoch": by_epoch, "start": draw.choice([None, 1, 2])}
        evaluation = mmcv.runner.EvalHook(
            DataLoader(Rows(4), batch_size=2),
            save_best=draw.choice([None, "acc", "auto"]),
            test_fn=lambda model, loader: [1],
            **when,
        )
        runner.register_hook(evaluation, priority="LOW")
    if draw.random() < 0.4:
        averages = mmcv.runner.EMAHook(momentum=0.3, interval=draw.randint(1, 3), warm_up=5)
        runner.register_hook(averages, priority=draw.choice(["HIGH", "NORMAL"]))
    flows = [("train", draw.randint(1, 3))]
    loaders = [DataLoader(Rows(draw.randint(1, 9)), batch_size=draw.randint(1, 3))]
    if draw.random() < 0.5:
        flows.append(("val", draw.randint(1, 2)))
        loaders.append(DataLoader(Rows(3)))
    return runner, loaders, flows


def what_is_left(mmcv, seed, work_dir):
    """Counters, weights, files, messages of hooks, JSON lines, log lines; or which error there was."""
    logger, lines = logging.getLogger(f"random_run_{seed}"), Lines()
    logger.propagate, logger.handlers = False, [lines]
    logger.setLevel(logging.INFO)
    runner, loaders, flows = a_run(mmcv, random.Random(seed), work_dir, logger)
    try:
        runner.run(loaders, flows)
    except KeyError as error:  # a line without times, which MMCV cannot write
        return repr(error)
    finally:
        logger.handlers = []
    messages = (runner.meta or {}).get("hook_msgs", {})
    record = work_dir / f"{runner.timestamp}.log.json"
    written = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    return {
        "counters": (runner.epoch, runner.iter, runner.inner_iter, runner.current_lr()),
        "weights": [value.tolist() for value in runner.model.state_dict().values()],
        "files": sorted(path.name for path in work_dir.glob("*.pth")),
        "messages": {key: os.path.basename(str(value)) for key, value in messages.items()},
        "json": [{key: value for key, value in line.items() if "time" not in key} for line in written],
        "lines": lines.lines,
    }


@pytest.mark.mmcv1
def test_random_runs(tmp_path):
    found = {}
    for engine in (peer_installed, face_installed):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with engine() as mmcv:
                for seed in range(40):
                    work_dir = tmp_path / f"{engine.__name__}_{seed}"
                    found[engine, seed] = what_is_left(mmcv, seed, work_dir)
    compared = 0
    for seed in range(40):
        theirs, ours = found[peer_installed, seed], found[face_installed, seed]
        if theirs == "KeyError('data_time')":
            assert isinstance(ours, dict)
            continue
        assert ours == theirs, seed
        compared += 1
    assert compared > 30
