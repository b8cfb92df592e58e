"""Checkpointer and PeriodicCheckpointer: files, which of them is taken, and what does not fit."""

from __future__ import annotations

import gc
import logging
import os
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainwright.base.errors import CheckpointError, RegistryError, SaveError
from trainwright.strategies import FSDPStrategy
from trainwright.testing.ranks import run_ranks
from trainwright.trainer import Checkpointer, SimpleTrainer
from trainwright.trainer import PeriodicCheckpointer as Hook
from trainwright.trainer.checkpointer import PeriodicCheckpointer


def make(seed: int = 0, width: int = 3) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


class Number:
    """Something with a state."""

    def __init__(self, value: int = 0) -> None:
        self.value = value

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value = state["value"]


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    model = make()
    Checkpointer(model, tmp_path, number=Number(7)).save("first", iteration=3, note="kept")
    assert (tmp_path / "last_checkpoint").read_text() == "first.pth"
    other, number = make(1), Number()
    checkpointer = Checkpointer(other, str(tmp_path), number=number)
    assert checkpointer.has_checkpoint()
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "first.pth")
    rest = checkpointer.resume_or_load("elsewhere.pth")
    assert same(model, other)
    assert number.value == 7
    assert (rest["iteration"], rest["note"], rest["meta"]["iter"]) == (3, "kept", 4)
    assert not {"model", "number"} & set(rest)


def test_a_file_is_what_torch_reads_safely_in_fvcores_layout(tmp_path: Path) -> None:
    model = make()
    Checkpointer(nn.DataParallel(model), tmp_path, number=Number(7)).save("first")
    tree = torch.load(tmp_path / "first.pth", weights_only=True)
    assert list(tree["model"]) == list(model.state_dict())
    assert tree["number"] == {"value": 7}


def test_without_resume_the_model_alone_is_loaded(tmp_path: Path) -> None:
    model = make()
    Checkpointer(model, tmp_path, number=Number(7)).save("first")
    other, number = make(1), Number()
    checkpointer = Checkpointer(other, tmp_path / "new", number=number)
    assert not checkpointer.has_checkpoint()
    assert checkpointer.get_checkpoint_file() == ""
    assert checkpointer.resume_or_load(str(tmp_path / "first.pth"))["number"] == {"value": 7}
    assert same(model, other)
    assert number.value == 0
    assert checkpointer.resume_or_load("", resume=False) == {}


def test_chosen_objects_are_loaded(tmp_path: Path) -> None:
    Checkpointer(make(), tmp_path, a=Number(1), b=Number(2)).save("first")
    a, b = Number(), Number()
    checkpointer = Checkpointer(make(), tmp_path, a=a, b=b)
    checkpointer.load(checkpointer.get_checkpoint_file(), ["b"])
    assert (a.value, b.value) == (0, 2)
    with pytest.raises(RegistryError, match="load\\(\\) was asked for 'c', and the checkpointer has a, b"):
        checkpointer.load(checkpointer.get_checkpoint_file(), ["c"])


def test_nothing_is_written_where_nothing_is_to_be(tmp_path: Path) -> None:
    Checkpointer(make(), tmp_path, save_to_disk=False).save("first")
    Checkpointer(make()).save("first")
    assert list(tmp_path.iterdir()) == []
    assert Checkpointer(make()).get_all_checkpoint_files() == []
    assert not Checkpointer(make()).has_checkpoint()


def test_all_files_are_listed(tmp_path: Path) -> None:
    checkpointer = Checkpointer(make(), tmp_path)
    assert checkpointer.get_all_checkpoint_files() == []
    for name in ("b", "a"):
        checkpointer.save(name)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".tmp-c.pth").write_text("")
    assert checkpointer.get_all_checkpoint_files() == [str(tmp_path / "a.pth"), str(tmp_path / "b.pth")]


# which file is taken ------------------------------------------------------------------------------------------------


def saved(folder: Path, *iterations: int) -> Checkpointer:
    checkpointer = Checkpointer(make(), folder)
    for iteration in iterations:
        checkpointer.save(f"model_{iteration}", iteration=iteration)
    return checkpointer


def test_a_damaged_file_is_passed_over(tmp_path: Path) -> None:
    checkpointer = saved(tmp_path, 9, 19, 29)
    for name, size in (("model_29", 700), ("model_19", 0)):
        os.truncate(tmp_path / f"{name}.pth", size)
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_9.pth")
    os.truncate(tmp_path / "model_9.pth", 10)
    assert checkpointer.get_checkpoint_file() == ""


def test_a_flipped_bit_is_seen(tmp_path: Path) -> None:
    checkpointer = saved(tmp_path, 9, 19)
    data = bytearray((tmp_path / "model_19.pth").read_bytes())
    place = data.index(checkpointer.model.state_dict()["0.weight"].numpy().tobytes())
    data[place] ^= 1
    (tmp_path / "model_19.pth").write_bytes(data)
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_9.pth")


def test_a_file_whose_save_was_killed_before_the_hint_is_found(tmp_path: Path) -> None:
    checkpointer = saved(tmp_path, 9, 19)
    hint = tmp_path / "last_checkpoint"
    hint.write_text("model_9.pth")
    times = hint.stat()
    os.utime(hint, ns=(times.st_atime_ns, (tmp_path / "model_19.pth").stat().st_mtime_ns - 1))
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_19.pth")


def test_a_hint_that_somebody_has_written_since_counts(tmp_path: Path) -> None:
    checkpointer = saved(tmp_path, 9, 19)
    checkpointer.tag_last_checkpoint("model_9.pth")
    later = (tmp_path / "model_19.pth").stat().st_mtime_ns + 1
    os.utime(tmp_path / "last_checkpoint", ns=(later, later))
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_9.pth")


@pytest.mark.parametrize("text", ["gone.pth", "", "\x00", None])
def test_a_hint_that_names_nothing_is_no_obstacle(tmp_path: Path, text: str | None) -> None:
    checkpointer = saved(tmp_path, 9, 19)
    if text is None:
        (tmp_path / "last_checkpoint").unlink()
    else:
        (tmp_path / "last_checkpoint").write_text(text)
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_19.pth")


def test_a_file_of_fvcore_is_resumed(tmp_path: Path) -> None:
    model = make()
    tree = {"model": {f"module.{k}": v for k, v in model.state_dict().items()}, "iteration": 4, "number": {"value": 2}}
    torch.save(tree, tmp_path / "model_0000004.pth")
    (tmp_path / "last_checkpoint").write_text("model_0000004.pth")
    other, number = make(1), Number()
    assert Checkpointer(other, tmp_path, number=number).resume_or_load("") == {"iteration": 4}
    assert same(model, other)
    assert number.value == 2


# what does not fit --------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Checkpointer(make(), tmp_path).save("first")
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(4), nn.Linear(1, 1))
    with caplog.at_level(logging.WARNING, "trainwright.trainer"):
        Checkpointer(model, tmp_path).resume_or_load("")
    assert "the weight 1.weight is left out: it has shape (3,) in the checkpoint and (4,) in the model" in caplog.text
    assert "that are not in the checkpoint: 2.weight, 2.bias" in caplog.text
    assert torch.equal(model[0].weight, make()[0].weight)


def test_weights_in_other_layouts(tmp_path: Path) -> None:
    model = make()
    for name, tree in (("runner", {"state_dict": model.state_dict()}), ("flat", dict(model.state_dict()))):
        torch.save(tree, tmp_path / f"{name}.pth")
        other = make(1)
        assert Checkpointer(other).load(str(tmp_path / f"{name}.pth")) == {}
        assert same(model, other)
    torch.save({"iteration": 4}, tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="there is neither 'model' nor 'state_dict' in it, but iteration"):
        Checkpointer(model).load(str(tmp_path / "none.pth"))


def test_a_file_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        Checkpointer(make()).load(str(tmp_path / "no.pth"))


def test_names_and_objects_are_checked() -> None:
    checkpointer = Checkpointer(make(), number=Number())
    with pytest.raises(KeyError, match="has something called 'number' already"):
        checkpointer.add_checkpointable("number", Number())
    with pytest.raises(TypeError, match=r"other must have a state_dict\(\) to be saved, but int has none: 3"):
        checkpointer.add_checkpointable("other", 3)


def test_what_is_no_plain_data_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    checkpointer = saved(tmp_path, 9)
    with pytest.raises(CheckpointError, match=r"\['odd'\] is a builtins.object"):
        checkpointer.save("second", odd=object())
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model_9.pth"]
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_9.pth")


def test_a_storage_that_does_not_take_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError, match="was not written"):
        Checkpointer(make(), tmp_path / "file").save("first")


def test_a_trainer_is_held_weakly(tmp_path: Path) -> None:
    model = make()
    trainer = SimpleTrainer(model, [], torch.optim.SGD(model.parameters(), lr=0.1))
    checkpointer = Checkpointer(model, tmp_path, trainer=trainer)
    trainer.register_hooks([Hook(checkpointer, 5)])
    gone = weakref.ref(trainer)
    gc.disable()
    try:
        del trainer
        assert gone() is None
    finally:
        gc.enable()


# every so many iterations -------------------------------------------------------------------------------------------


def test_periodic_saves(tmp_path: Path) -> None:
    periodic = PeriodicCheckpointer(Checkpointer(make(), tmp_path), 10, max_iter=25)
    for iteration in range(25):
        periodic.step(iteration, note="x")
        assert (tmp_path / f"model_{iteration:07d}.pth").exists() == ((iteration + 1) % 10 == 0)
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    tree = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert (tree["iteration"], tree["note"]) == (24, "x")


def test_older_ones_go_also_those_of_an_earlier_run(tmp_path: Path) -> None:
    def names() -> list[str]:
        return sorted(path.name for path in tmp_path.glob("*.pth"))

    first = PeriodicCheckpointer(Checkpointer(make(), tmp_path), 1, max_to_keep=2)
    for iteration in range(4):
        first.step(iteration)
    first.save("other")
    assert names() == ["model_0000002.pth", "model_0000003.pth", "other.pth"]
    second = PeriodicCheckpointer(Checkpointer(make(), tmp_path), 1, max_to_keep=2)
    second.step(4)
    assert names() == ["model_0000003.pth", "model_0000004.pth", "other.pth"]
    with pytest.raises(ValueError, match="max_to_keep must be at least 1, or None for all, but got 0"):
        PeriodicCheckpointer(Checkpointer(make(), tmp_path), 1, max_to_keep=0)


def test_nothing_older_goes_where_the_newest_is_not_whole(tmp_path: Path) -> None:
    checkpointer = Checkpointer(make(), tmp_path)
    periodic = PeriodicCheckpointer(checkpointer, 1, max_to_keep=1)
    periodic.step(0)
    plain = checkpointer.save

    def torn(name: str, **kwargs: Any) -> None:
        plain(name, **kwargs)
        os.truncate(tmp_path / f"{name}.pth", 100)

    checkpointer.save = torn  # type: ignore[method-assign]
    periodic.step(1)
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_0000000.pth")


# several ranks ------------------------------------------------------------------------------------------------------


def _save_on_ranks(folder: str) -> bool:
    rank = torch.distributed.get_rank()
    checkpointer = Checkpointer(make(rank), folder)
    checkpointer.save("all")  # rank 0 writes, nobody waits
    if rank == 0:
        checkpointer.save("alone")
    torch.distributed.barrier()
    other = make(5)
    Checkpointer(other, folder).resume_or_load("")
    return same(other, make(0))


def test_rank_0_writes(tmp_path: Path) -> None:
    assert run_ranks(2, _save_on_ranks, str(tmp_path)) == [True, True]
    assert sorted(os.listdir(tmp_path)) == ["all.pth", "alone.pth", "last_checkpoint"]


def _train_sharded(folder: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    class Squared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x).square().mean()

    module = Squared()
    trainer = SimpleTrainer(module, [torch.rand(2, 2)], optimizer, strategy=FSDPStrategy(work_dir=f"{folder}/logs"))
    trainer.register_hooks([Hook(Checkpointer(module, folder, trainer=trainer), 2)])
    trainer.train(0, 2)


def test_what_is_sharded_is_whole_in_a_file(tmp_path: Path) -> None:
    run_ranks(2, _train_sharded, str(tmp_path))
    tree = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert {name: tuple(value.shape) for name, value in tree["model"].items()} == {
        "net.0.weight": (8, 2),
        "net.0.bias": (8,),
        "net.1.weight": (1, 8),
        "net.1.bias": (1,),
    }
    assert tree["trainer"]["optimizer"]["state"][0]["momentum_buffer"].shape == (8, 2)
