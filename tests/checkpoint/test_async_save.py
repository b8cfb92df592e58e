"""Saves in the background: what is written, when, in which order, and that nothing of it is training's."""

import os
import threading

import pytest
import torch
from torch import nn

from trainwright.base.errors import CheckpointError, Interrupted, SaveError
from trainwright.checkpoint import CheckpointManager, read_file, write_file
from trainwright.checkpoint.async_save import AsyncSaver, Job
from trainwright.checkpoint.folder import write_folder
from trainwright.engine import Event, Hook
from trainwright.registry import MODELS
from trainwright.runner import Runner
from trainwright.strategies import state as strategies
from trainwright.testing.rank_runs import exact_state
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import ToyModel, awkward_tree, differences, toy_config, toy_loader

ASYNC = {"type": "CheckpointHook", "interval": 1, "by_epoch": False, "async_save": True}


@MODELS.register_module()
class ToyWithBuffers(ToyModel):
    """Batch statistics, which change in place, and a weight with two names."""

    def __init__(self, dropout=0.2, **kwargs) -> None:
        super().__init__(dropout=dropout, **kwargs)
        self.norm = nn.BatchNorm1d(6)
        self.same = self.first

    def forward(self, inputs, label=None, mode="tensor"):
        return super().forward(self.norm(inputs), label, mode)


class Slow:
    """A writer that waits until it may, and notes how many write at once."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.may = threading.Event()
        self.may.set()
        self.delay_s, self.errors = delay_s, {}
        self.n_now, self.most, self.threads, self.written = 0, 0, [], []

    def __call__(self, path, tree):
        self.n_now += 1
        self.most = max(self.most, self.n_now)
        self.threads.append(threading.current_thread())
        try:
            assert self.may.wait(30)
            threading.Event().wait(self.delay_s)
            name = os.path.basename(path)
            if name in self.errors:
                raise self.errors.pop(name)
            write_file(path, tree)
            self.written.append(name)
        finally:
            self.n_now -= 1


@pytest.fixture
def slow(monkeypatch):
    writer = Slow()
    monkeypatch.setattr(strategies, "write_file", writer)
    yield writer
    writer.may.set()


class Watcher(Hook):
    """What it was told, where."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.saved = []

    def after_save_checkpoint(self, runner, path):
        is_main = threading.current_thread() is threading.main_thread()
        self.saved.append((os.path.basename(path), os.path.exists(path), is_main))


def run(folder, max_iters=6, hooks=(), train=True, **changes):
    checkpoint = {**ASYNC, **changes.pop("checkpoint", {})}
    cfg = toy_config(
        folder,
        model={"type": "ToyWithBuffers"},
        train_dataloader=toy_loader(24, 4, noise=0.1),
        train_cfg={"by_epoch": False, "max_iters": max_iters, "val_interval": 100},
        optim_wrapper={"optimizer": {"type": "AdamW", "lr": 0.05}},
        default_hooks={"checkpoint": checkpoint, "logger": {"type": "LoggerHook", "interval": 1}},
        custom_hooks=[{"type": "EMAHook", "momentum": 0.3}, *hooks],
    )
    runner = Runner.from_cfg({**cfg, **changes})
    if train:
        runner.train()
    return runner


def saves(folder):
    return sorted(path.name for path in folder.glob("*.pth"))


def hook_of(runner):
    return next(hook for hook in runner.hooks if type(hook).__name__ == "CheckpointHook")


def _tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for item in items for tensor in _tensors(item)]


@pytest.mark.parametrize("layout", ["file", "folder"])
def test_bytes_are_those_of_a_synchronous_save_although_the_state_changes_meanwhile(tmp_path, layout):
    tree, saver, may = awkward_tree(), AsyncSaver(), threading.Event()
    for name in ("", "second"):  # the second time in used memory
        write = write_file if layout == "file" else write_folder
        write(tmp_path / f"sync{name}", tree)
        copied = saver.snapshot("it", tree, saver.copies())

        def work(copied=copied, name=name, write=write):
            assert may.wait(30)
            write(tmp_path / f"async{name}", copied)

        saver.begin(Job("it", work))
        for tensor in _tensors(tree):
            if tensor.numel() and 0 not in tensor.stride():
                tensor.data.add_(1)
        tree["meta"]["names"].append("later")
        may.set()
        assert saver.settle()
        sync, parallel = tmp_path / f"sync{name}", tmp_path / f"async{name}"
        for file in [sync] if layout == "file" else sorted(sync.iterdir()):
            assert file.read_bytes() == (parallel if layout == "file" else parallel / file.name).read_bytes(), file


# whole runs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["file", "folder"])
def test_every_checkpoint_of_a_run_is_that_of_a_synchronous_one(tmp_path, slow, layout):
    slow.delay_s = 0.01
    for name, is_async in (("sync", False), ("async", True)):
        run(tmp_path / name, checkpoint={"async_save": is_async, "layout": layout, "max_keep_ckpts": -1})
    names = [f"iter_{n}.pth" if layout == "file" else f"iter_{n}" for n in range(1, 7)]
    for name in names:
        one, other = (tmp_path / folder / name for folder in ("sync", "async"))
        trees = [_comparable(path, layout) for path in (one, other)]
        assert not differences(*trees), name
    if layout == "file":
        assert slow.most == 1
        assert threading.main_thread() not in slow.threads[6:]


def _comparable(path, layout):
    if layout == "file":
        state, tree = exact_state(path), read_file(path)
    else:
        tree = CheckpointManager(path.parent)._load_tree(str(path), "cpu")
        state = {key: tree[key] for key in ("state_dict", "optimizer", "rng", "loader", "ema_state_dict")}
    hook = tree["hooks"]["CheckpointHook"]
    state["kept"] = [os.path.basename(one) for one in [*hook["saved"], *hook["doomed"], hook["last_ckpt"]]]
    return state


@pytest.mark.parametrize("layout", ["file", "folder"])
def test_a_run_that_is_resumed_ends_as_one_without_a_break(tmp_path, layout):
    whole = run(tmp_path / "whole", checkpoint={"layout": layout})
    run(tmp_path / "parts", max_iters=3, checkpoint={"layout": layout})
    resumed = run(tmp_path / "parts", resume=True, checkpoint={"layout": layout})
    own = [runner.strategy.model_state_dict() for runner in (whole, resumed)]
    assert not differences(*own)


def test_the_order_is_publish_hint_purge_and_the_kept_files_are_exact(tmp_path, slow):
    slow.delay_s = 0.005
    watcher = Watcher()
    runner = run(tmp_path, checkpoint={"max_keep_ckpts": 2}, hooks=[watcher])
    assert saves(tmp_path) == ["iter_5.pth", "iter_6.pth"]
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "iter_6.pth")
    assert hook_of(runner).retention.doomed == []
    assert watcher.saved == [
        (f"iter_{n}.pth", n > 4 or exists, True) for n, (_, exists, _) in enumerate(watcher.saved, 1)
    ]
    assert len(watcher.saved) == 6


def test_training_goes_on_while_a_save_is_written_and_a_later_save_waits(tmp_path, slow):
    seen = []

    class Look(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            seen.append((runner.is_saving, slow.n_now, list(slow.written)))
            if runner.iter == 1:
                threading.Timer(0.2, slow.may.set).start()

    slow.may.clear()
    run(tmp_path, max_iters=3, hooks=[Look()])
    assert seen[0] == (False, 0, [])
    assert seen[1][0]
    assert seen[1][2] == []
    assert seen[2][0]
    assert seen[2][2][:1] == ["iter_1.pth"]
    assert slow.most == 1
    assert slow.written == ["iter_1.pth", "iter_2.pth", "iter_3.pth"]


def test_stalls_are_a_metric_and_in_the_log_line(tmp_path):
    runner = run(tmp_path, max_iters=4, checkpoint={"interval": 2}, log_level="INFO")
    stalls = runner.message_hub.get_scalar("checkpoint/stall_s").data[0]
    assert len(stalls) == 2
    assert (stalls > 0).all()
    logs = list(tmp_path.rglob("*.log"))
    lines = [line for path in logs for line in path.read_text().splitlines() if "Iter(train)" in line]
    assert ["checkpoint/stall_s" in line for line in lines] == [False, False, True, False]


def test_best_checkpoints_in_the_background(tmp_path, slow):
    slow.delay_s = 0.02
    settings = {
        "val_dataloader": toy_loader(8, shuffle=False),
        "val_evaluator": {"type": "ScriptedMetric", "acc": [1, 3, 2, 4]},
        "train_cfg": {"by_epoch": False, "max_iters": 4, "val_interval": 1},
    }
    runner = run(tmp_path, checkpoint={"save_best": "toy/acc", "rule": "greater", "max_keep_ckpts": 1}, **settings)
    assert saves(tmp_path) == ["best_toy_acc_iter_4.pth", "iter_4.pth"]
    assert hook_of(runner).best_ckpt_path == str(tmp_path / "best_toy_acc_iter_4.pth")


# failures -------------------------------------------------------------------------------------------------------------


def test_a_failed_save_leaves_lists_and_hint_as_they_were_and_is_counted(tmp_path, slow):
    slow.errors["iter_3.pth"] = OSError(28, "No space left on device")
    watcher, states = Watcher(), []

    class Look(Hook):
        priority = "LOWEST"

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            runner.finish_saves()
            hook = hook_of(runner)
            hint = os.path.basename((tmp_path / "last_checkpoint").read_text())
            kept = [os.path.basename(path) for path in hook.retention.saved]
            states.append((kept, os.path.basename(hook.last_ckpt), hint, hook.n_failed))

    run(tmp_path, max_iters=4, checkpoint={"max_keep_ckpts": 1}, hooks=[watcher, Look()])
    two = (["iter_2.pth"], "iter_2.pth", "iter_2.pth")
    assert states[1:3] == [(*two, 0), (*two, 1)]
    assert states[3] == (["iter_4.pth"], "iter_4.pth", "iter_4.pth", 0)
    assert saves(tmp_path) == ["iter_4.pth"]
    assert [name for name, *_ in watcher.saved] == ["iter_1.pth", "iter_2.pth", "iter_4.pth"]


def test_so_many_failures_in_a_row_end_training(tmp_path, slow):
    slow.errors = {f"iter_{n}.pth": OSError(28, "No space left on device") for n in range(2, 9)}
    with pytest.raises(SaveError, match="2 saves in a row failed.*iter_3.pth.*No space left.*newest good.*iter_1.pth"):
        run(tmp_path, checkpoint={"max_save_failures": 2})
    assert saves(tmp_path) == ["iter_1.pth"]


def test_the_last_save_is_tried_again_at_the_end(tmp_path, slow):
    slow.errors["iter_6.pth"] = OSError(28, "No space left on device")
    run(tmp_path)
    assert "iter_6.pth" in saves(tmp_path)


def test_a_save_of_the_users_own_raises_at_the_next_one_or_when_it_is_finished(tmp_path, slow):
    runner = run(tmp_path, max_iters=2)
    slow.errors["a.pth"] = OSError(28, "No space left on device")
    runner.save_checkpoint(str(tmp_path), "a.pth", async_save=True)
    with pytest.raises(SaveError, match="a.pth.*No space left on device"):
        runner.save_checkpoint(str(tmp_path), "b.pth", async_save=True)
    slow.errors["c.pth"] = OSError(5, "Input/output error")
    path = runner.save_checkpoint(str(tmp_path), "c.pth", async_save=True)
    assert path == str(tmp_path / "c.pth")
    assert runner.is_saving
    with pytest.raises(SaveError, match="Input/output error"):
        runner.finish_saves()
    assert runner.finish_saves()
    assert not runner.is_saving
    assert saves(tmp_path) == ["iter_1.pth", "iter_2.pth"]


def test_waiting_has_a_limit(tmp_path, slow):
    runner = run(tmp_path, max_iters=2)
    slow.may.clear()
    runner.save_checkpoint(str(tmp_path), "a.pth", async_save=True)
    assert not runner.finish_saves(timeout_s=0.01)
    assert "a.pth" not in saves(tmp_path)
    slow.may.set()
    assert runner.finish_saves(timeout_s=30)
    assert "a.pth" in saves(tmp_path)


def test_what_is_no_plain_data_is_refused_at_once_and_by_name(tmp_path):
    class Bad(Hook):
        def before_save_checkpoint(self, runner, checkpoint):
            checkpoint["odd"] = {"thing": object()}

    with pytest.raises(CheckpointError, match=r"\['odd'\]\['thing'\] is a builtins.object"):
        run(tmp_path, hooks=[Bad()])
    assert saves(tmp_path) == []


def test_an_error_in_training_does_not_lose_a_snapshot_that_is_taken(tmp_path, slow):
    class Fail(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter == 3:
                runner.finish_saves()
                slow.may.clear()
            if runner.iter == 4:
                threading.Timer(0.1, slow.may.set).start()
                raise ValueError("the run's own error")

    with pytest.raises(ValueError, match="the run's own error"):
        run(tmp_path, hooks=[Fail()])
    assert "iter_4.pth" in saves(tmp_path)
    assert read_file(tmp_path / "iter_4.pth")["meta"]["iter"] == 4


def test_an_interrupted_run_waits_and_then_saves_where_it_stands(tmp_path, slow):
    slow.delay_s = 0.1
    with pytest.raises(Interrupted, match=r"iter_3\.pth"):
        run(tmp_path, checkpoint={"interval": 2}, hooks=[StopAt(Event.AFTER_TRAIN_ITER, 3)])
    assert slow.written == ["iter_2.pth", "iter_3.pth"]
    assert slow.most == 1


def test_publishing_waits_for_the_last_checkpoint(tmp_path, slow):
    slow.delay_s = 0.1
    run(tmp_path, checkpoint={"published_keys": ["state_dict"]})
    assert len([name for name in saves(tmp_path) if name.startswith("iter_6-")]) == 1


def test_the_loss_guard_goes_back_to_a_file_that_is_being_written(tmp_path, slow):
    iters = []

    class Count(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            iters.append(runner.iter)
            if runner.iter == 4 and len(iters) == 5:  # iter_4.pth is on its way
                assert runner.is_saving
                assert slow.written == ["iter_2.pth"]
                threading.Timer(0.2, slow.may.set).start()
            elif runner.iter == 3:
                runner.finish_saves()  # iter_2.pth is written before the next one is held up
                slow.may.clear()

    loader = toy_loader(24, 4, shuffle=False, nan_at=17)  # in the batch of iteration 4
    guard = {"type": "LossGuardHook", "policy": "rollback", "interval": 1, "snapshot_interval": 0}
    run(tmp_path, hooks=[guard, Count()], checkpoint={"interval": 2}, train_dataloader=loader)
    assert iters == [0, 1, 2, 3, 4, 4, 5]  # from the file on, without the batch
    assert saves(tmp_path)[-1] == "iter_6.pth"
