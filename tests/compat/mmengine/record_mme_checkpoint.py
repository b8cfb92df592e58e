"""Writes ``mme_checkpoint.pth``, a checkpoint by MMEngine 0.10.7, and how its training ended.

Run it in the environment of `make peers`: ``.venv-peers/bin/python tests/compat/mmengine/record_mme_checkpoint.py``.
"""

import shutil
import tempfile
from pathlib import Path

import torch
from mme_checkpoint_runs import ENDS, FILE, STOPPED, runner, state


def main():
    import mmengine

    assert mmengine.__version__ == "0.10.7"
    assert "trainwright" not in mmengine.__file__
    with tempfile.TemporaryDirectory() as folder:
        run = runner(folder)
        run.train()
        shutil.copy(Path(folder) / f"epoch_{STOPPED}.pth", FILE)
        torch.save(state(run), ENDS)


if __name__ == "__main__":
    main()
