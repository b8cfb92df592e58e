"""One recorded step, taken again."""

import dataclasses
import itertools
import json
import math
import random
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import trainwright.testing.step_recorder  # noqa: F401 - registers the hook
from trainwright.base.errors import CheckpointError, ConfigError, CustomImportError
from trainwright.checkpoint import read_file
from trainwright.checkpoint.step_record import read_record
from trainwright.engine import Hook
from trainwright.model import BaseModel
from trainwright.optim import OptimWrapper, OptimWrapperDict
from trainwright.registry import HOOKS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS, VISBACKENDS
from trainwright.runner import Runner, replay_config, replay_step
from trainwright.testing.toys import DIM, ToyDataset, ToyModel, toy_config, toy_loader
from trainwright.visualization import BaseVisBackend


@MODELS.register_module()
class BrittleToy(ToyModel):
    """With batch norm and dropout; from the call ``overflows_at`` on, features are too large for the second layer."""

    def __init__(self, overflows_at=None, **kwargs):
        super().__init__(**kwargs)
        self.first = nn.Sequential(nn.Linear(DIM, 8), nn.BatchNorm1d(8))
        self.overflows_at = overflows_at
        if overflows_at is not None:
            nn.init.constant_(self.second.weight, 10.0)
        self.register_buffer("n_calls", torch.zeros((), dtype=torch.long))

    def forward(self, inputs, label=None, mode="tensor"):
        scale = 3e38 if self.n_calls == self.overflows_at else 1.0
        self.n_calls += 1
        scores = self.second(self.dropout(torch.relu(self.first(inputs)).clamp(max=1.0) * scale) * 1.0)
        return {"loss": F.cross_entropy(scores, label)} if mode == "loss" else {"scores": scores, "label": label}


@MODELS.register_module()
class TwoPartToy(BaseModel):
    """Two layers, each with an optimizer; the second one steps in every second iteration."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(DIM, 8), nn.Linear(8, 3)

    def train_step(self, data, optim_wrapper):
        features = F.dropout(torch.relu(self.first(data["inputs"])), 0.3, training=True)
        size = features.square().mean()
        optim_wrapper["first"].update_params(size)
        loss = F.cross_entropy(self.second(features.detach()), data["label"])
        optim_wrapper["second"].update_params(loss)
        return {"loss_size": size, "loss": loss}

    def forward(self, inputs, label=None, mode="tensor"):
        return {"scores": self.second(torch.relu(self.first(inputs))), "label": label}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TwoPartConstructor:
    def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
        self.lr = optim_wrapper_cfg["lr"]

    def __call__(self, model):
        return OptimWrapperDict(
            first=OptimWrapper(torch.optim.SGD(model.first.parameters(), lr=self.lr, momentum=0.9)),
            second=OptimWrapper(torch.optim.Adam(model.second.parameters(), lr=self.lr), accumulative_counts=2),
        )


def wrapper(**settings):
    return {"optimizer": {"type": "AdamW", "lr": 0.01}, **settings}


def recorded(folder, at=6, hooks=(), **changes):
    """Train until iteration ``at`` is recorded; the folder of the record."""
    step_dir = folder / "run" / "bad_steps" / f"iter_{at}"
    changes = {
        "model": {"type": "ToyModel", "dropout": 0.3},
        "train_dataloader": toy_loader(24, noise=0.3),
        "default_hooks": {"runtime_info": {"type": "RuntimeInfoHook", "check_finite": False}},
        **changes,
    }
    config = toy_config(folder / "run", **changes)
    config["custom_hooks"] = [*hooks, {"type": "RecordStepHook", "at": at, "folder": str(step_dir)}]
    Runner.from_cfg(config).train()
    return step_dir


def files_below(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


TWO = {"model": {"type": "TwoPartToy"}, "optim_wrapper": {"constructor": "TwoPartConstructor", "lr": 0.05}}
CASES = {
    "plain": {},
    "second_epoch": {"at": 8, "val_dataloader": None, "val_cfg": None, "val_evaluator": None},
    "workers": {"train_dataloader": toy_loader(24, noise=0.3, num_workers=2)},
    "amp_bf16": {"optim_wrapper": wrapper(type="AmpOptimWrapper", dtype="bfloat16")},
    "amp_fp16_scaler": {
        "optim_wrapper": wrapper(
            type="AmpOptimWrapper",
            dtype="float16",
            loss_scale={"init_scale": 2.0**12, "growth_interval": 3},
            clip_grad={"max_norm": 0.1},
        )
    },
    "inside_a_window": {"at": 4, "optim_wrapper": wrapper(accumulative_counts=3)},
    "end_of_a_window": {"at": 5, "optim_wrapper": wrapper(accumulative_counts=3, clip_grad={"max_norm": 0.1})},
    "fp16_window": {
        "at": 4,
        "optim_wrapper": wrapper(
            type="AmpOptimWrapper", dtype="float16", accumulative_counts=2, loss_scale={"init_scale": 2.0**10}
        ),
    },
    "batch_norm": {"model": {"type": "BrittleToy", "dropout": 0.3}},
    "by_iterations": {
        "train_cfg": {"by_epoch": False, "max_iters": 12, "val_interval": 4},
        "train_dataloader": {**toy_loader(24, noise=0.3), "sampler": {"type": "InfiniteSampler", "shuffle": True}},
        "param_scheduler": [{"type": "LinearLR", "by_epoch": False, "start_factor": 0.1, "end": 10}],
    },
    "several_terms": {"model": {"type": "ToyModel", "dropout": 0.3, "n_terms": 3}},
    "two_optimizers": {"at": 5, **TWO},
    "two_optimizers_inside_a_window": {"at": 4, **TWO},
    "seed_drawn": {"randomness": None},
    "not_keyed": {"randomness": {"seed": 1, "keyed": False}},
    "not_keyed_workers": {
        "randomness": {"seed": 1, "keyed": False},
        "train_dataloader": toy_loader(24, noise=0.3, num_workers=1),
    },
    "hooks": {
        "hooks": [
            {"type": "EMAHook", "momentum": 0.1},
            {"type": "GradNormHook"},
            {"type": "EarlyStoppingHook", "monitor": "accuracy/top1"},
            {"type": "MaxTimeHook", "max_time": "1 h"},
        ]
    },
}


NORMS = {
    "inside_a_window": [],
    "fp16_window": [],
    "two_optimizers": ["first", "second"],
    "two_optimizers_inside_a_window": ["first"],
}


@pytest.mark.parametrize("name", CASES)
def test_a_step_is_reproduced_bit_for_bit(tmp_path, name):
    step_dir = recorded(tmp_path, **CASES[name])
    before, here = files_below(tmp_path), Path.cwd()
    record = read_record(step_dir)
    replay = replay_config(step_dir)
    assert replay.differences == []
    assert replay.reproduced
    assert replay.notes == []
    assert list(replay.losses) == list(record.losses)
    assert list(replay.grad_norms) == list(record.grad_norms) == NORMS.get(name, [""])
    assert replay.diagnosis.modules == replay.diagnosis.gradients == replay.diagnosis.weights == []
    assert [each.name for each in replay.diagnosis.batch] == ["batch['inputs']", "batch['label']"]
    assert files_below(tmp_path) == before
    assert Path.cwd() == here


def test_numbers_would_tell_a_changed_bit(tmp_path):
    step_dir = recorded(tmp_path)
    path = step_dir / "step.json"
    values = json.loads(path.read_text())
    loss = float.fromhex(values["losses"]["loss"]["hex"])
    values["losses"]["loss"]["hex"] = math.nextafter(loss, 9).hex()
    values["grad_norms"][""]["hex"] = "inf"
    values["losses"]["loss_gone"] = {"text": "1.0", "hex": (1.0).hex()}
    path.write_text(json.dumps(values))
    replay = replay_config(step_dir, diagnose=False)
    assert not replay.reproduced
    assert replay.diagnosis is None
    assert len(replay.differences) == 3
    assert replay.differences[0].startswith(f"loss was {math.nextafter(loss, 9)!r} (")
    assert loss.hex() in replay.differences[0]
    assert replay.differences[1] == "loss_gone was 1.0, and the step did not give it"
    assert replay.differences[2].startswith("grad_norm was inf (inf) and is 0.")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["train_dataloader.dataset.noise=0.4"], "the loader gives another batch than was recorded: batch['inputs']"),
        (["model.dropout=0.0"], "loss was "),
    ],
)
def test_changed_settings_do_not_reproduce(tmp_path, options, text):
    replay = replay_config(recorded(tmp_path), options)
    assert replay.differences[0].startswith(text)


def test_nan_in_the_data_is_traced(tmp_path):
    sampler = toy_loader(16, nan_at=9, shuffle=False)
    step_dir = recorded(tmp_path, at=2, train_dataloader=sampler)
    record = read_record(step_dir)
    assert math.isnan(record.losses["loss"])
    assert math.isnan(record.grad_norms[""])
    replay = replay_config(step_dir)
    assert replay.reproduced
    found = replay.diagnosis
    assert [module.name for module in found.modules] == ["data_preprocessor"]
    assert found.modules[0].kind == "BaseDataPreprocessor"
    assert not found.modules[0].inputs_finite
    assert found.batch[0].n_nan == DIM
    assert found.batch[1].is_finite
    assert [each.name for each in found.gradients] == ["first.weight", "first.bias", "second.weight", "second.bias"]
    assert found.weights == []
    assert str(found.batch[0]).startswith("batch['inputs']: float32 (4, 6), 6 NaN of 24, from ")


def test_the_module_that_overflows_is_named_though_its_inputs_are_finite(tmp_path):
    step_dir = recorded(tmp_path, at=2, model={"type": "BrittleToy", "overflows_at": 2})
    found = replay_config(step_dir).diagnosis
    first, nan = found.modules
    assert (first.name, first.kind, first.inputs_finite) == ("second", "Linear", True)
    assert first.output.n_inf
    assert (nan.name, nan.output.name, nan.output.n_nan) == ("", "output['loss']", 1)
    assert found.weights == []
    assert found.batch[0].is_finite
    assert {"second.weight", "first.0.weight"} <= {each.name for each in found.gradients}


def test_spoilt_weights_are_named(tmp_path):
    step_dir = recorded(tmp_path, at=1)
    tree = read_file(str(step_dir / "state.pth"))
    tree["state_dict"]["second.bias"][1] = float("nan")
    torch.save(tree, step_dir / "state.pth")
    replay = replay_config(step_dir)
    assert [each.name for each in replay.diagnosis.weights] == ["second.bias"]
    assert not replay.reproduced


def test_a_compiled_model_is_not_watched(tmp_path):
    step_dir = recorded(tmp_path, at=1, compile={"backend": "eager"})
    replay = replay_config(step_dir)
    assert replay.reproduced
    assert "add --cfg-options compile=False" in replay.diagnosis.modules_unknown
    assert replay_config(step_dir, ["compile=False"]).diagnosis.modules_unknown is None


@HOOKS.register_module()
class NoisyFileHook(Hook):
    """Counts what is called after the step."""

    calls = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.calls.append("after_train_iter")

    def after_train(self, runner):
        self.calls.append("after_train")


def test_nothing_is_called_after_the_step(tmp_path):
    step_dir = recorded(tmp_path, at=1, hooks=[{"type": "NoisyFileHook"}])
    NoisyFileHook.calls.clear()
    assert replay_config(step_dir).reproduced
    assert NoisyFileHook.calls == []


def built_runner(work_dir, *hooks):
    """From objects, without a config."""
    torch.manual_seed(0)
    model = ToyModel(dropout=0.3)
    return Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=toy_loader(24, noise=0.3),
        train_cfg={"by_epoch": True, "max_epochs": 2},
        optim_wrapper=OptimWrapper(torch.optim.Adam(model.parameters(), lr=0.01)),
        custom_hooks=list(hooks),
        randomness={"seed": 4},
        log_level="WARNING",
    )


def test_replay_from_code(tmp_path):
    step_dir = tmp_path / "step"
    hook = {"type": "RecordStepHook", "at": 3, "folder": str(step_dir)}
    built_runner(tmp_path / "run", hook).train()
    assert not (step_dir / "config.py").exists()
    with pytest.raises(ConfigError, match="made from objects, without a config") as caught:
        replay_config(step_dir)
    assert f"trainwright.runner.replay_step(runner, {str(step_dir)!r})" in str(caught.value)

    runner = built_runner(tmp_path / "again")
    before = files_below(tmp_path)
    visualizer = runner.visualizer
    assert replay_step(runner, step_dir).reproduced
    assert files_below(tmp_path) == before
    assert runner.visualizer is visualizer
    with pytest.raises(ConfigError, match="takes a runner that has done nothing yet"):
        replay_step(runner, step_dir)


class OrderOfItsOwn(torch.utils.data.Sampler):
    """An order that no random stream of a run gives again."""

    passes = itertools.count()

    def __iter__(self):
        order = list(range(24))
        random.Random(next(self.passes)).shuffle(order)
        return iter(order)

    def __len__(self):
        return 24


@pytest.mark.parametrize("order", ["as it is", "shuffled", "of its own"])
def test_a_loader_of_torchs_own(tmp_path, order):
    def runner(name, *hooks):
        torch.manual_seed(3)
        model = ToyModel(dropout=0.3)
        return Runner(
            model=model,
            work_dir=str(tmp_path / name),
            train_dataloader=torch.utils.data.DataLoader(
                ToyDataset(24, noise=0.3),
                batch_size=4,
                shuffle=order == "shuffled",
                sampler=OrderOfItsOwn() if order == "of its own" else None,
            ),
            train_cfg={"by_epoch": True, "max_epochs": 2},
            optim_wrapper=OptimWrapper(torch.optim.Adam(model.parameters(), lr=0.01)),
            custom_hooks=list(hooks),
            randomness={"seed": 4},
            log_level="ERROR",
        )

    step_dir = tmp_path / "step"
    runner("run", {"type": "RecordStepHook", "at": 3, "folder": str(step_dir)}).train()
    replay = replay_step(runner("again"), step_dir)
    assert replay.differences == []
    assert len(replay.notes) == (order == "of its own")
    assert all("the recorded one was used" in note for note in replay.notes)


def test_objects_in_a_config_are_replayed_from_code(tmp_path):
    step_dir = recorded(tmp_path, at=1, note=torch.ones(2))
    with pytest.raises(ConfigError, match=r"it holds objects that are no plain data \(note: Tensor\)"):
        replay_config(step_dir)


def test_classes_in_a_config_are_found_again(tmp_path):
    step_dir = recorded(tmp_path, at=1, model={"type": ToyModel, "dropout": 0.3})
    assert "from trainwright.testing.toys import ToyModel" in (step_dir / "config.py").read_text()
    assert replay_config(step_dir).reproduced


def changed_record(step_dir, **changes):
    record = dataclasses.replace(read_record(step_dir), **changes)
    (step_dir / "step.json").write_text(record.to_json())


def test_circumstances_are_noted(tmp_path):
    step_dir = recorded(tmp_path, at=1)
    changed_record(step_dir, device="cuda:0", torch_version="1.0", folder=str(tmp_path / "gone"))
    replay = replay_config(step_dir)
    assert replay.notes[0].startswith(f"the run was started in {tmp_path / 'gone'}, which cannot be entered")
    assert replay.notes[1:] == ["device was cuda:0 and is cpu", f"torch was 1.0 and is {torch.__version__}"]


def test_steps_of_several_processes_are_refused(tmp_path):
    step_dir = recorded(tmp_path, at=1)
    changed_record(step_dir, world_size=2)
    with pytest.raises(
        ConfigError, match=r"taken by 2 process\(es\), and this is one of 1: a replay works in one process"
    ):
        replay_config(step_dir)


def test_another_iteration_is_noticed(tmp_path):
    step_dir = recorded(tmp_path, at=2)
    changed_record(step_dir, iteration=5)
    assert replay_config(step_dir).differences[0] == (
        "iteration 2, batch 2 of its epoch, was run, and iteration 5, batch 2, was recorded"
    )


def test_a_training_that_is_too_short_says_so(tmp_path):
    step_dir = recorded(tmp_path, at=8)
    with pytest.raises(ConfigError, match="training ended before iteration 8 was run again, with 8 of 6"):
        replay_config(step_dir, ["train_cfg.max_epochs=1"])


def test_a_runner_without_training_is_refused(tmp_path):
    step_dir = recorded(tmp_path, at=1)
    runner = Runner(model=ToyModel(), work_dir=str(tmp_path / "other"))
    with pytest.raises(ConfigError, match="needs train_dataloader, train_cfg and optim_wrapper"):
        replay_step(runner, step_dir)


def test_what_is_no_step_dir(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        replay_config(tmp_path / "none")


def test_files_of_custom_imports_are_found_in_the_folder_of_the_run(tmp_path, monkeypatch):
    (tmp_path / "imported_by_replay.py").write_text("LOADED = True\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    step_dir = recorded(tmp_path, at=1, custom_imports={"imports": ["imported_by_replay.py"]})
    changed_record(step_dir, folder=str(tmp_path))
    assert "imported_by_replay" not in sys.modules
    try:
        assert replay_config(step_dir).reproduced
        assert sys.modules["imported_by_replay"].LOADED
    finally:
        sys.modules.pop("imported_by_replay", None)
    assert str(tmp_path) not in sys.path
    changed_record(step_dir, folder=str(tmp_path / "run"))
    with pytest.raises(CustomImportError, match=r"'imported_by_replay\.py', which cannot be imported") as caught:
        replay_config(step_dir)
    assert caught.value.__notes__[0].startswith(
        f"The run was started in {tmp_path / 'run'}: put the module there again"
    )


@VISBACKENDS.register_module()
class CountingBackend(BaseVisBackend):
    """Counts how often it is made."""

    n_made = 0

    def __init__(self, save_dir):
        super().__init__(save_dir)
        type(self).n_made += 1

    @property
    def experiment(self):
        return self


def test_no_tracker_is_made(tmp_path):
    visualizer = {"type": "Visualizer", "vis_backends": [{"type": "CountingBackend"}]}
    step_dir = recorded(tmp_path, at=1, visualizer=visualizer)
    assert CountingBackend.n_made == 1
    assert replay_config(step_dir).reproduced
    assert CountingBackend.n_made == 1


def test_a_config_with_code_in_it_is_not_run(tmp_path):
    step_dir = recorded(tmp_path, at=1)
    with open(step_dir / "config.py", "a") as file:
        file.write(f"open({str(tmp_path / 'proof')!r}, 'w').close()\n")
    with pytest.raises(ConfigError, match=r"config\.py"):
        replay_config(step_dir)
    assert not (tmp_path / "proof").exists()
