"""A disk that is full, fails or forbids: the old checkpoint stays, nothing half-written does, training goes on."""

import errno
import os
import resource
import signal

import pytest
from harness import in_child, small_config
from harness_storage import CODES, half_written, refusing

from trainwright.base.errors import SaveError
from trainwright.checkpoint import CheckpointManager, read_checkpoint
from trainwright.engine import Hook
from trainwright.runner import Runner
from trainwright.testing.toys import differences, toy_config


class Switch(Hook):
    """The storage refuses for the saves from iteration ``start`` to ``end``."""

    priority = "VERY_HIGH"

    def __init__(self, state, start, end):
        self.state, self.start, self.end = state, start, end
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        done = runner.iter + 1
        self.state.on = self.start <= done <= self.end
        folder = runner.work_dir
        self.seen.append((done, [name for name in os.listdir(folder) if name.startswith(("iter_", ".tmp-", "last"))]))


def names(folder):
    return sorted(name for name in os.listdir(folder) if name.startswith("iter_"))


def config(folder, layout, **checkpoint):
    hook = {"type": "CheckpointHook", "by_epoch": False, "interval": 2, "layout": layout, **checkpoint}
    cfg = small_config(folder, layout, 12)
    return {**cfg, "default_hooks": {**cfg.get("default_hooks", {}), "checkpoint": hook}}


def suffix(layout):
    return ".pth" if layout == "file" else ""


@pytest.mark.parametrize("layout", ["file", "folder"])
@pytest.mark.parametrize(
    ("call", "kind"), [("write", "full"), ("write", "failing"), ("fsync", "failing"), ("rename", "forbidden")]
)
def test_two_failures_and_on(tmp_path, capsys, layout, call, kind):
    whole = Runner.from_cfg(config(tmp_path / "whole", layout, max_keep_ckpts=1))
    whole.train()
    with refusing(call, CODES[kind]) as state:
        switch = Switch(state, 4, 7)
        runner = Runner.from_cfg({**config(tmp_path / "run", layout, max_keep_ckpts=1), "custom_hooks": [switch]})
        runner.train()
    assert state.n >= 2
    said = capsys.readouterr().err
    end = suffix(layout)
    good = str(tmp_path / "run" / f"iter_2{end}")
    for number, failed in enumerate((4, 6), 1):
        line = next(line for line in said.splitlines() if "ERROR" in line and f"iter_{failed}{end}'" in line)
        assert os.strerror(CODES[kind]) in line
        assert f"Training goes on (failure {number}; it ends at 3 in a row). The newest good checkpoint: {good}" in line
    last = f"iter_12{end}"
    assert names(tmp_path / "run") == [last]
    assert half_written(tmp_path / "run") == []
    assert (tmp_path / "run" / "last_checkpoint").read_text() == str(tmp_path / "run" / last)
    meanwhile = dict(switch.seen)
    assert f"iter_2{end}" in meanwhile[7]  # with max_keep_ckpts=1, and two failed saves after it
    assert not [name for name in meanwhile[7] if name.startswith(".tmp-") or name.startswith("iter_6")]
    trees = [read_checkpoint(tmp_path / run / last) for run in ("whole", "run")]
    assert differences(*({key: tree[key] for key in ("state_dict", "optimizer", "rng")} for tree in trees)) == []


@pytest.mark.parametrize("layout", ["file", "folder"])
def test_three_in_a_row_end_the_training(tmp_path, layout):
    end = suffix(layout)
    with refusing("fsync", errno.EIO) as state:
        runner = Runner.from_cfg({**config(tmp_path, layout), "custom_hooks": [Switch(state, 4, 12)]})
        with pytest.raises(SaveError) as caught:
            runner.train()
    message = str(caught.value)
    assert "3 saves in a row failed, so training ends" in message
    assert f"The newest good checkpoint: {tmp_path / f'iter_2{end}'}." in message
    assert "max_save_failures says how many may fail" in message
    assert "Input/output error" in message
    assert runner.iter == 7
    assert names(tmp_path) == [f"iter_2{end}"]
    assert half_written(tmp_path) == []
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / f"iter_2{end}")
    resumed = Runner.from_cfg({**config(tmp_path, layout), "resume": True})
    resumed.train()
    assert resumed.iter == 12


def test_one_may_be_too_many(tmp_path):
    with refusing("fsync", errno.EIO) as state:
        runner = Runner.from_cfg(
            {**config(tmp_path, "file", max_save_failures=1), "custom_hooks": [Switch(state, 4, 12)]}
        )
        with pytest.raises(SaveError, match="1 saves in a row failed"):
            runner.train()


def test_the_last_save_is_tried_again_and_must_succeed(tmp_path):
    with refusing("fsync", errno.ENOSPC) as state:
        runner = Runner.from_cfg({**config(tmp_path, "file"), "custom_hooks": [Switch(state, 12, 99)]})
        with pytest.raises(SaveError, match="iter_12.pth' was not written: OSError: No space left on device"):
            runner.train()
        assert names(tmp_path) == [f"iter_{n}.pth" for n in (10, 2, 4, 6, 8)]

        class Mends(Hook):
            priority = "VERY_HIGH"

            def after_train(self, runner):
                state.on = False

        state.on = False
        again = Runner.from_cfg(
            {**config(tmp_path, "file"), "resume": True, "custom_hooks": [Switch(state, 12, 99), Mends()]}
        )
        again.train()
    assert "iter_12.pth" in names(tmp_path)
    assert CheckpointManager(tmp_path).latest() == str(tmp_path / "iter_12.pth")


def test_a_hint_that_cannot_be_written_deletes_nothing(tmp_path, monkeypatch, capsys):
    real = CheckpointManager.point_to

    def point_to(self, path, hint_folder=None):
        if path.endswith("iter_4.pth"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, path, hint_folder)

    monkeypatch.setattr(CheckpointManager, "point_to", point_to)
    seen = {}

    class Watch(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen[runner.iter] = names(tmp_path)

    Runner.from_cfg({**config(tmp_path, "file", max_keep_ckpts=1), "custom_hooks": [Watch()]}).train()
    assert seen[4] == ["iter_2.pth", "iter_4.pth"]
    assert seen[6] == ["iter_6.pth"]
    assert "the hint beside" in capsys.readouterr().err


def test_a_failed_best_one_leaves_the_old_best(tmp_path):
    class Fails(Hook):
        def __init__(self, state):
            self.state = state

        def after_val_epoch(self, runner, metrics=None):
            self.state.on = runner.epoch == 2  # of the second one, which has ended

        def before_train_epoch(self, runner):
            self.state.on = False

    cfg = toy_config(
        tmp_path,
        train_cfg={"by_epoch": True, "max_epochs": 3},
        val_evaluator={"type": "ScriptedMetric", "acc": [1, 2, 1]},
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": -1, "save_best": "toy/acc"}},
    )
    with refusing("fsync", errno.EIO) as state:
        runner = Runner.from_cfg({**cfg, "custom_hooks": [Fails(state)]})
        runner.train()
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == ["best_toy_acc_epoch_1.pth", "epoch_3.pth"]
    assert runner.message_hub.get_info("best_score") == 1


@pytest.mark.parametrize("layout", ["file", "folder"])
def test_a_file_that_may_not_grow(tmp_path, layout):
    """The kernel's own refusal, EFBIG: a limit on the size of files, set in a child."""
    assert in_child(limited, str(tmp_path), layout) == "ended"
    end = suffix(layout)
    assert names(tmp_path) == [f"iter_2{end}"]
    assert half_written(tmp_path) == []
    assert CheckpointManager(tmp_path).latest() == str(tmp_path / f"iter_2{end}")


def limited(folder, layout):
    class Limit(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 2:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))

    runner = Runner.from_cfg({**config(folder, layout), "custom_hooks": [Limit()]})
    try:
        runner.train()
    except SaveError as error:
        return "ended" if "File too large" in str(error) else str(error)
    return "not noticed"
