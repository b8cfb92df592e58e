"""What goes on after a resume besides the weights, and what a user is told."""

import json
import logging
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from resuming import BY_ITER, assert_same, checkpoint_hook, config, resumed, run
from torch.utils.data import DataLoader, Dataset

from trainwright.base.errors import CheckpointError, ConfigError, Interrupted
from trainwright.checkpoint import read_file
from trainwright.engine import Event, Hook
from trainwright.runner import Runner
from trainwright.testing.recorder import EventRecorder, StopAt
from trainwright.testing.toys import differences, toy_config, toy_loader


def log_text(runner):
    return "\n".join(path.read_text() for path in Path(runner.log_dir).glob("*.log"))


def test_a_drawn_seed_is_taken_over(tmp_path):
    first = run(config(tmp_path, epochs=2, randomness={"seed": None}))
    second = resumed(config(tmp_path, epochs=4, randomness=None))
    assert second.seed == first.seed
    straight = run(config(tmp_path / "one", epochs=4, randomness={"seed": first.seed}))
    # Before the seed is known, the weights of a fresh model are drawn: only what comes after the load can agree.
    assert_same(straight, second)


def test_another_seed_in_the_config_gives_way_and_is_reported(tmp_path):
    run(config(tmp_path, epochs=1, randomness={"seed": 3}))
    second = resumed(config(tmp_path, epochs=2, randomness={"seed": 4}))
    assert second.seed == 3
    assert "randomness has seed=4 and the checkpoint 3: the checkpoint's is used" in log_text(second)
    straight = run(config(tmp_path / "one", epochs=2, randomness={"seed": 3}))
    assert_same(straight, second)


def test_history_best_and_kept_files_go_on(tmp_path):
    script = {"type": "ScriptedMetric", "acc": [1, 5, 3, 4, 6]}
    first = run(config(tmp_path, epochs=3, val_evaluator=script))
    assert len(first.message_hub.get_scalar("train/loss")) == 15
    hook = checkpoint_hook(first)
    assert [Path(p).name for p in hook.retention.saved] == ["epoch_1.pth", "epoch_2.pth", "epoch_3.pth"]
    assert (hook.bests[0].score, Path(hook.bests[0].path).name) == (5, "best_toy_acc_epoch_2.pth")

    second = resumed(config(tmp_path, epochs=5, val_evaluator=script | {"acc": [3, 4, 6]}))
    hub, hook = second.message_hub, checkpoint_hook(second)
    assert len(hub.get_scalar("train/loss")) == 25
    assert hub.get_scalar("val/toy/acc").data[0].tolist() == [1, 5, 3, 4, 6]
    assert [Path(p).name for p in hook.retention.saved] == ["epoch_3.pth", "epoch_4.pth", "epoch_5.pth"]
    assert (hook.bests[0].score, Path(hook.bests[0].path).name) == (6, "best_toy_acc_epoch_5.pth")
    assert sorted(p.name for p in tmp_path.glob("*.pth")) == [
        "best_toy_acc_epoch_5.pth",
        "epoch_3.pth",
        "epoch_4.pth",
        "epoch_5.pth",
    ]
    assert second.log_dirs == [Path(first.log_dir).name, Path(second.log_dir).name]
    assert len(set(second.log_dirs)) == 2
    steps = [json.loads(line).get("iter") for line in scalars(second)]
    assert min(steps) == 15


def scalars(runner):
    return (Path(runner.log_dir) / "vis_data" / "scalars.json").read_text().splitlines()


def test_a_validation_that_was_done_is_not_repeated(tmp_path):
    run(config(tmp_path, epochs=3), StopAt(Event.AFTER_VAL, 1))
    recorder = EventRecorder()
    resumed(config(tmp_path, epochs=2, custom_hooks=[recorder]))
    assert recorder.count(Event.BEFORE_VAL) == 1
    assert recorder.events[:4] == [
        Event.BEFORE_RUN,
        Event.AFTER_LOAD_CHECKPOINT,
        Event.BEFORE_TRAIN,
        Event.BEFORE_TRAIN_EPOCH,
    ]


def test_one_that_is_not_due_with_the_new_settings_is_left_out(tmp_path):
    run(config(tmp_path, epochs=2, train_cfg={"by_epoch": True, "max_epochs": 2, "val_interval": 3}))
    recorder = EventRecorder()
    cfg = {"by_epoch": True, "max_epochs": 4, "val_interval": 3}
    resumed(config(tmp_path, train_cfg=cfg, custom_hooks=[recorder]))
    assert [moment for moment in recorder.moments if moment[0] is Event.BEFORE_VAL] == [
        (Event.BEFORE_VAL, 3, 15),
        (Event.BEFORE_VAL, 4, 20),
    ]


def test_a_finished_run_only_repeats_what_its_last_file_had_before_it(tmp_path):
    first = run(config(tmp_path, epochs=2))
    again = resumed(config(tmp_path, epochs=2))
    assert again.iter == 10
    assert differences(first.strategy.model_state_dict(), again.strategy.model_state_dict()) == []


def test_nothing_to_resume_starts_from_the_beginning(tmp_path):
    runner = resumed(config(tmp_path, epochs=1, log_level="INFO"))
    assert runner.iter == 5
    assert "nothing to resume in" in log_text(runner)


class Counting(Hook):
    """A hook with state of its own."""

    def __init__(self):
        self.n_seen = 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.n_seen += 1

    def state_dict(self):
        return {"n_seen": self.n_seen}

    def load_state_dict(self, state):
        self.n_seen = state["n_seen"]


def test_state_of_hooks_by_unique_names(tmp_path):
    one, two = Counting(), Counting()
    run(config(tmp_path, epochs=1, custom_hooks=[one, two]))
    assert read_file(str(tmp_path / "epoch_1.pth"))["hooks"].keys() >= {"Counting", "Counting#1"}
    one, two = Counting(), Counting()
    resumed(config(tmp_path, epochs=2, custom_hooks=[one, two]))
    assert one.n_seen == two.n_seen == 10


def test_a_loader_that_cannot_jump_is_read_again_and_says_so(tmp_path):
    def loader():
        points = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
        rows = [{"inputs": point, "label": n % 3} for n, point in enumerate(points)]
        return torch.utils.data.DataLoader(rows, batch_size=4)

    def cfg(folder):
        return config(folder, epochs=2, train_dataloader=loader())

    straight = run(cfg(tmp_path / "one"))
    run(cfg(tmp_path / "parts"), StopAt(Event.AFTER_TRAIN_ITER, 7))
    second = resumed(cfg(tmp_path / "parts"))
    assert differences(straight.strategy.model_state_dict(), second.strategy.model_state_dict()) == []
    assert "2 batches are read and dropped, because DataLoader cannot jump" in log_text(second)


class Drawn(Dataset):
    """Samples to which noise from the process's own streams is added as they are read."""

    def __len__(self):
        return 20

    def __getitem__(self, index):
        noise = torch.randn(6) + random.random() + float(np.random.rand())
        return {"inputs": noise + index / 20, "label": index % 3}


@pytest.mark.parametrize(
    ("workers", "own_generator", "by_epoch"), [(0, False, True), (0, False, False), (0, True, False), (1, True, True)]
)
def test_a_loader_of_the_users_own_goes_on_exactly(tmp_path, by_epoch, own_generator, workers):
    """Its order and what its samples draw are those of the run in one go, also where the order comes from elsewhere."""

    def cfg(folder):
        torch.manual_seed(7)
        generator = torch.Generator().manual_seed(3) if own_generator else None
        loader = DataLoader(Drawn(), 4, shuffle=True, generator=generator, num_workers=workers)
        train_cfg = {"by_epoch": True, "max_epochs": 4} if by_epoch else {"by_epoch": False, "max_iters": 20}
        return config(folder, train_dataloader=loader, train_cfg=train_cfg, param_scheduler=BY_ITER)

    straight = run(cfg(tmp_path / "one"))
    for stop in (7, 3, 3):  # within a pass, at the end of one, and within the next
        run(cfg(tmp_path / "parts") | {"resume": True}, StopAt(Event.AFTER_TRAIN_ITER, stop))
    last = resumed(cfg(tmp_path / "parts"))
    assert differences(straight.strategy.model_state_dict(), last.strategy.model_state_dict()) == []


def test_streams_of_workers_that_are_not_keyed_go_on_exactly(tmp_path):
    def cfg(folder):
        loader = toy_loader(20, 4, noise=0.3, num_workers=2)
        randomness = {"seed": 5, "keyed": False}
        return config(folder, epochs=3, train_dataloader=loader, randomness=randomness, param_scheduler=BY_ITER)

    straight = run(cfg(tmp_path / "one"))
    run(cfg(tmp_path / "parts"), StopAt(Event.AFTER_TRAIN_ITER, 8))
    second = resumed(cfg(tmp_path / "parts"))
    assert differences(straight.strategy.model_state_dict(), second.strategy.model_state_dict()) == []


def test_a_loader_with_other_generators_says_that_its_order_is_another_one(tmp_path):
    def cfg(generator):
        loader = DataLoader(Drawn(), 4, shuffle=True, generator=generator)
        return config(tmp_path, epochs=2, train_dataloader=loader)

    run(cfg(torch.Generator()), StopAt(Event.AFTER_TRAIN_ITER, 7))
    assert "has 0 generator(s) of its own and had 1 when the checkpoint was saved" in log_text(resumed(cfg(None)))


def test_optimizer_and_schedulers_can_be_left_out(tmp_path):
    run(config(tmp_path, epochs=1))
    runner = Runner.from_cfg(config(tmp_path / "other", epochs=2))
    runner.optim_wrapper = runner.build_optim_wrapper({"optimizer": {"type": "SGD", "lr": 0.7}})
    runner.resume(str(tmp_path / "epoch_1.pth"), resume_optimizer=False, resume_param_scheduler=False)
    assert runner.optim_wrapper.get_lr() == {"lr": [0.35]}  # the first factor of a schedule that begins
    assert not runner.optim_wrapper.optimizer.state
    assert (runner.epoch, runner.iter) == (1, 5)


@pytest.fixture
def broken(tmp_path):
    """Checkpoint files with which something is wrong, and a whole one."""
    folder = tmp_path / "whole"
    run(toy_config(folder, train_cfg={"by_epoch": True, "max_epochs": 1}))
    whole = folder / "epoch_1.pth"
    data = whole.read_bytes()
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "truncated.pth").write_bytes(data[: len(data) // 2])
    (tmp_path / "foreign.pth").write_bytes(b"this is no checkpoint\n" * 50)
    torch.save({"weight": torch.zeros(3)}, tmp_path / "weights.pth")
    torch.save({"hook": Counting()}, tmp_path / "objects.pth")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.pth", "missing.pth' does not exist in"),
        ("emty.pth", r"does not exist in .*Did you mean 'empty.pth'"),
        ("nowhere/epoch_1.pth", "its folder .*nowhere' is missing"),
        ("empty.pth", r"is empty \(0 bytes\): the save that made it was cut off"),
        ("truncated.pth", "is truncated or damaged .*Use an older checkpoint"),
    ],
)
@pytest.mark.parametrize("how", ["load_from and resume", "resume", "load_from"])
def test_files_that_cannot_be_resumed_are_refused_before_anything_is_made(broken, name, message, how):
    path = str(broken / name)
    settings = {
        "load_from and resume": {"load_from": path, "resume": True},
        "resume": {"resume": path},
        "load_from": {"load_from": path},
    }[how]
    with pytest.raises(CheckpointError, match=message):
        Runner.from_cfg(toy_config(broken / "new", **settings))
    assert not (broken / "new").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("foreign.pth", "foreign.pth"),
        ("weights.pth", "it holds no training state .*To start from its weights use load_from="),
        ("objects.pth", "was refused: it holds Python objects"),
    ],
)
def test_foreign_files_are_refused_without_running_what_is_in_them(broken, name, message):
    cfg = toy_config(broken / "new", load_from=str(broken / name), resume=True)
    with pytest.raises(CheckpointError, match=message):
        Runner.from_cfg(cfg).train()
    assert list((broken / "new").glob("*.pth")) == []


def test_the_latest_readable_checkpoint_is_taken(tmp_path, caplog):
    run(toy_config(tmp_path, train_cfg={"by_epoch": True, "max_epochs": 3}))
    newest = tmp_path / "epoch_3.pth"
    newest.write_bytes(newest.read_bytes()[:-100])
    second = resumed(toy_config(tmp_path, train_cfg={"by_epoch": True, "max_epochs": 4}, log_level=logging.INFO))
    text = log_text(second)
    assert "skipped a checkpoint that cannot be read" in text
    assert "epoch_2.pth: epoch 2, iteration 8" in text
    assert second.iter == 16


def test_another_model_is_refused(tmp_path):
    run(toy_config(tmp_path, train_cfg={"by_epoch": True, "max_epochs": 1}))
    cfg = toy_config(tmp_path, model=torch.nn.Sequential(torch.nn.Linear(2, 2)), resume=True)
    cfg["model"].train_step = cfg["model"].val_step = lambda data, **kwargs: None
    with pytest.raises(CheckpointError, match="no weight of the checkpoint fits Sequential"):
        Runner.from_cfg(cfg).train()


def test_another_number_of_schedulers_is_refused(tmp_path):
    run(config(tmp_path, epochs=1))
    cfg = config(tmp_path, epochs=2, param_scheduler=[{"type": "ConstantLR", "factor": 0.5}])
    with pytest.raises(ConfigError, match="the checkpoint has 2 parameter schedulers and this config 1"):
        resumed(cfg)


class NotesRates(Hook):
    """Notes the learning rate of every iteration."""

    def __init__(self):
        self.rates = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates[runner.iter] = runner.optim_wrapper.get_lr()["lr"][0]


SCHEDULES = {
    "poly": [{"type": "PolyLR", "power": 2.0}],
    "cosine": [{"type": "CosineAnnealingLR", "eta_min": 0.01}],
    "cosine by iteration": [{"type": "CosineAnnealingLR", "convert_to_iter_based": True}],
    "linear": [{"type": "LinearLR", "start_factor": 0.1}],
    "one cycle": [{"type": "OneCycleLR", "eta_max": 0.5, "convert_to_iter_based": True}],
    "stable, then down": [{"type": "WarmupStableDecayLR", "warmup_steps": 1, "decay_steps": 1}],
    "warm-up, then cosine": [
        {"type": "LinearLR", "start_factor": 0.1, "end": 3, "by_epoch": False},
        {"type": "CosineAnnealingLR", "begin": 1, "convert_to_iter_based": True},
    ],
    "factors at once": [
        {"type": "ConstantLR", "factor": 0.5, "end": 30, "by_epoch": False},
        {"type": "PolyLR", "power": 1.0, "convert_to_iter_based": True},
    ],
    "a horizon that shrinks": [{"type": "PolyLR", "power": 2.0, "end": 9}],
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_an_extended_horizon_has_the_values_of_the_longer_schedule(tmp_path, name, capsys):
    schedule = SCHEDULES[name]
    straight, later = NotesRates(), NotesRates()
    run(config(tmp_path / "straight", epochs=5, param_scheduler=schedule, custom_hooks=[straight]))
    first = [{**part, "end": 12} if part.get("end") == 9 else part for part in schedule]
    run(config(tmp_path / "parts", epochs=2, param_scheduler=first, log_level="WARNING"))
    capsys.readouterr()
    resumed(config(tmp_path / "parts", epochs=5, param_scheduler=schedule, custom_hooks=[later], log_level="WARNING"))
    assert len(later.rates) == 15
    for number, rate in later.rates.items():
        assert rate == pytest.approx(straight.rates[number], rel=1e-12, abs=1e-15), number
    printed = capsys.readouterr()
    text = " ".join((printed.out + printed.err).split())
    kind = schedule[-1]["type"]
    assert f"{kind}, goes on with the settings of the config: end=" in text


def test_a_schedule_with_an_end_of_its_own_goes_on_as_it_was(tmp_path, capsys):
    changes = {"param_scheduler": {"type": "PolyLR", "power": 2.0, "end": 2}, "log_level": "WARNING"}
    run(config(tmp_path, epochs=2, **changes))
    capsys.readouterr()
    second = resumed(config(tmp_path, epochs=4, **changes))
    printed = capsys.readouterr()
    assert "goes on" not in printed.out + printed.err
    assert second.optim_wrapper.get_lr() == {"lr": [0.0]}


def test_a_schedule_that_now_counts_otherwise_goes_on_as_it_was_saved(tmp_path, capsys):
    run(config(tmp_path, epochs=2, param_scheduler={"type": "PolyLR"}))
    capsys.readouterr()
    cfg = config(tmp_path, epochs=4, param_scheduler={"type": "PolyLR", "by_epoch": False}, log_level="WARNING")
    resumed(cfg)
    printed = capsys.readouterr()
    text = " ".join((printed.out + printed.err).split())
    assert "PolyLR, goes on as it was saved, because it counts epochs there." in text


@pytest.mark.parametrize("hook", [None, {"type": "CheckpointHook", "interval": -1}])
def test_an_interrupted_run_is_saved_whatever_the_hook_says(tmp_path, hook):
    if hook is not None:
        hook = {**hook, "out_dir": str(tmp_path / "out")}
    cfg = config(tmp_path / "run", epochs=2, default_hooks={"checkpoint": hook})
    first = Runner.from_cfg({**cfg, "custom_hooks": [StopAt(Event.AFTER_TRAIN_ITER, 3)]})
    with pytest.raises(Interrupted, match=r"training was stopped \(after_train_iter number 3\) after iteration 3"):
        first.train()
    assert [p.name for p in tmp_path.rglob("*.pth")] == ["iter_3.pth"]
    second = Runner.from_cfg({**cfg, "resume": True})
    second.train()
    assert len(second.message_hub.get_scalar("train/loss")) == 10
