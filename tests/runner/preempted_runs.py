"""Trainings that get signals, and what they leave."""

import json
import os
import signal

import pytest

from trainwright.base.errors import Preempted
from trainwright.engine import Event, Hook
from trainwright.runner import Runner
from trainwright.testing.toys import toy_config, toy_loader

LONG = {"by_epoch": True, "max_epochs": 50}
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)


@pytest.fixture(autouse=True)
def signals_as_before(monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_JOB_END_TIME", "TORCHELASTIC_SIGNALS_TO_HANDLE"):
        monkeypatch.delenv(name, raising=False)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


class Shot(Hook):
    """Signals to this process when an event comes for the nth time."""

    def __init__(self, event, nth=1, *numbers):
        self.event, self.left, self.numbers = event, nth, numbers or (signal.SIGTERM,)

    def strike(self, event):
        self.left -= event == self.event
        if self.left == 0 and event == self.event:
            for number in self.numbers:
                os.kill(os.getpid(), number)


def _striking(event):
    return lambda self, runner, **values: self.strike(event.value)


for _event in Event:
    setattr(Shot, _event.value, _striking(_event))


def make(folder, *hooks, preemption=None, **changes):
    return Runner.from_cfg(
        toy_config(
            folder,
            **{
                "train_dataloader": toy_loader(16, 4, noise=0.2),
                "val_dataloader": toy_loader(16, 2, shuffle=False),
                "custom_hooks": list(hooks),
                "env_cfg": {} if preemption is None else {"preemption": preemption},
                **changes,
            },
        )
    )


def stopped(runner):
    with pytest.raises(Preempted) as caught:
        runner.train()
    return caught.value


def log_of(runner):
    (path,) = (file for file in os.listdir(runner.log_dir) if file.endswith(".log"))
    with open(os.path.join(runner.log_dir, path), encoding="utf-8") as file:
        return file.read()


def marker(folder):
    return json.loads((folder / ".requeue").read_text())
