"""The message of an interrupted run reaches the terminal: it is the only place that says how to go on."""

import pytest

from trainwright.base.errors import Interrupted
from trainwright.cli import app as commands
from trainwright.cli import train


def test_an_interrupt_says_how_to_go_on_and_ends_with_130(monkeypatch, capsys):
    def stopped(options, launching):
        raise Interrupted("training was stopped\nTo go on:  trainwright train c.py --resume", "iter_7.pth")

    monkeypatch.setattr(train, "train_config", stopped)
    monkeypatch.setattr("sys.argv", ["trainwright", "train", "c.py"])
    with pytest.raises(SystemExit) as end:
        commands.run()
    assert end.value.code == 130
    assert "To go on:  trainwright train c.py --resume" in capsys.readouterr().err


def test_the_command_to_train_on_names_each_setting_once(monkeypatch):
    monkeypatch.setattr("sys.argv", ["trainwright"])
    changed = ["train_cfg.max_epochs=3", "model.width=16"]
    options = train.TrainOptions("c.py", None, None, False, False, "none", changed)
    command = train._resume_command(options, "run", "train_cfg.max_epochs=6")
    assert command == (
        "trainwright train c.py --work-dir run --resume --cfg-options model.width=16 train_cfg.max_epochs=6"
    )
