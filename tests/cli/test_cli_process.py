"""The command in a process of its own: Ctrl-C, terminals, pipes."""

import os
import pty
import re
import shlex
import signal
import subprocess
import sys

import pytest
import torch

TRAIN = (sys.executable, "-m", "trainwright", "train", "toy.py")
SLOW = "train_dataloader.dataset.delay_s=0.01"


def wait_for(process, text):
    """Read standard error up to the line that has ``text``."""
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return seen
    raise AssertionError(f"{text!r} was not written:\n{''.join(seen)}")


def weights(path):
    return torch.load(path, weights_only=True)


@pytest.mark.slow
def test_ctrl_c_then_the_command_that_was_printed(start, command, project):
    process = start(*TRAIN, "--work-dir", "parts", "--cfg-options", SLOW)
    wait_for(process, "Epoch(train) [1][4/8]")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    stopped = re.search(r"training was stopped \(Ctrl-C\) after iteration (\d+) and saved to (\S+)\.", err)
    assert stopped, err
    assert 4 <= int(stopped[1]) < 8
    assert weights(stopped[2])["meta"]["iter"] == int(stopped[1])
    printed = err.split("To go on:")[1].strip().splitlines()[0]
    assert "--resume" in shlex.split(printed)

    again = start("bash", "-c", printed)
    out, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert f"epoch 0, iteration {stopped[1]}" in err
    assert "Trained 2 epochs, 16 iterations." in out
    # A pipe: one line an interval, nothing that only a terminal understands.
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", out + err)
    first = int(stopped[1]) // 2 * 2 + 2
    assert len(re.findall(r"Epoch\(train\)", err)) == len(range(first, 17, 2))

    code, _, err = command("train", "toy.py", "--work-dir", "straight")
    assert code == 0, err
    one, two = weights("straight/epoch_2.pth"), weights("parts/epoch_2.pth")
    for part in ("state_dict", "optimizer", "param_schedulers", "rng"):
        assert str(one[part]) == str(two[part])
    assert all(torch.equal(one["state_dict"][name], two["state_dict"][name]) for name in one["state_dict"])


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(start):
    process = start(*TRAIN, "--cfg-options", "train_dataloader.dataset.delay_s=15")
    wait_for(process, "reading")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)  # the iteration that was running needs a minute
    assert process.returncode == 130, err
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_terminal_has_a_bar_and_no_flood_of_lines(start):
    ours, theirs = pty.openpty()
    env = {"TERM": "xterm-256color", "COLUMNS": "150", "OMP_NUM_THREADS": "1", "TTY_INTERACTIVE": "1"}
    process = start(
        *TRAIN,
        "--cfg-options",
        SLOW,
        "default_hooks.logger.interval=1",
        stdout=theirs,
        stderr=theirs,
        stdin=theirs,
        env={**os.environ, **env},  # TTY_INTERACTIVE: a CI service sets CI, and there is no bar then
    )
    os.close(theirs)
    chunks = []
    try:
        while chunk := os.read(ours, 65536):
            chunks.append(chunk)
    except OSError:  # how Linux says that the other end was closed
        pass
    os.close(ours)
    assert process.wait(30) == 0
    text = b"".join(chunks).decode()
    assert "\x1b[" in text
    assert re.search(r"epoch 1/2", text)
    assert re.search(r"\d+/16", text)
    assert "loss: " in text
    assert "Epoch(train)" not in text
    assert "Epoch(val)" in text
    assert "Saving checkpoint at 2 epochs" in text
    assert "Trained 2 epochs, 16 iterations." in text
