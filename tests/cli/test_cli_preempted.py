"""`trainwright train` whose machine is taken away: exit code, marker, and the command that takes the run up."""

import json
import os
import shlex
import signal

import pytest

HOOK = """
import os
import signal
from trainwright.engine import Hook
from trainwright.registry import HOOKS

@HOOKS.register_module(force=True)
class StrikeHook(Hook):
    def __init__(self, at):
        self.at = at
        if at is None:
            os.kill(os.getpid(), signal.SIGTERM)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.at:
            os.kill(os.getpid(), signal.SIGTERM)
"""


def strike(project, at):
    with open(project / "slow_parts.py", "a") as parts, open(project / "toy.py", "a") as config:
        parts.write(HOOK)
        config.write(f'custom_hooks = [dict(type="StrikeHook", at={at})]\n')


@pytest.fixture(autouse=True)
def signals_as_before():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_sigterm_ends_with_75_and_a_marker_whose_command_goes_on(command, project):
    strike(project, 2)
    code, _, err = command("train", "toy.py", "--work-dir", "run")
    assert code == 75
    assert "training was stopped (SIGTERM) after iteration 3 and saved to" in err
    assert "To go on:  trainwright train toy.py --work-dir run --resume" in err
    marker = json.loads((project / "run" / ".requeue").read_text())
    assert marker["command"] == "trainwright train toy.py --work-dir run --resume"
    assert os.path.basename(marker["checkpoint"]) == "iter_3.pth"
    code, out, err = command(*shlex.split(marker["command"])[1:])
    assert code == 0, err
    assert "Trained 2 epochs, 16 iterations." in out
    assert not (project / "run" / ".requeue").exists()


def test_a_signal_while_the_run_is_built_ends_with_75(command, project):
    strike(project, None)
    code, _, err = command("train", "toy.py", "--work-dir", "run")
    assert code == 75
    assert "the run was stopped (SIGTERM) before training began." in err
    assert not list((project / "run").glob("*.pth"))


def test_wrong_settings_are_told_with_their_place(command, project):
    code, _, err = command("train", "toy.py", "--cfg-options", "env_cfg.preemption.signals=['SIGTRM']")
    assert code == 1
    assert "env_cfg.preemption.signals" in err
    assert "Did you mean 'SIGTERM'" in err
