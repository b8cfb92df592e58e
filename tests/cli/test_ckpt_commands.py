"""``trainwright ckpt``, in this process."""

import json
import warnings

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file, save_file

from trainwright.checkpoint import read_checkpoint, write_file
from trainwright.checkpoint.folder import write_folder
from trainwright.testing.toys import differences


class Local:
    """A class that no checkpoint may need."""


def tree(seed=0):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    return {
        "meta": {"epoch": 2, "iter": 10 + seed, "trainwright_version": "0.1.0", "seed": 3},
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "hooks": {"CheckpointHook": {"bests": [{"metric": "acc", "rule": "greater", "score": 0.5, "path": "x"}]}},
        "message_hub": {"log_scalars": {"train/loss": {"values": torch.tensor([3.0, 2.0]), "max_length": 9}}},
    }


@pytest.fixture
def files(project):
    write_file(project / "a.pth", tree())
    write_file(project / "b.pth", tree(1))
    write_folder(project / "iter_10", tree())
    return project


def unchanged(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_inspect(command, files):
    before = unchanged(files)
    code, out, err = command("ckpt", "inspect", "a.pth")
    assert (code, err) == (0, "")
    lines = {line.split("  ")[0].strip(): line.split("  ", 1)[-1].strip() for line in out.splitlines() if "  " in line}
    assert lines["kind"] == "Trainwright 0.1.0"
    assert (lines["epoch"], lines["iter"], lines["seed"]) == ("2", "10", "3")
    assert lines["weights"] == "7 with 33 numbers"
    assert lines["best acc"] == "0.5"
    assert lines["train/loss"] == "2"
    assert unchanged(files) == before


def test_inspect_json_of_each_kind(command, files):
    save_file({"w": torch.ones(2, 3, dtype=torch.bfloat16)}, files / "w.safetensors")
    torch.save({"w": torch.ones(2)}, files / "w.pth")
    torch.save({"meta": {"mmcv_version": "1.7.1", "n": np.float32(1)}, "state_dict": {}}, files / "m.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"state_dict": {"w": torch.ones(2)}, "n": 3}, checkpoint_id=files / "step")
    found = {}
    for name in ("a.pth", "iter_10", "w.safetensors", "w.pth", "m.pth", "step"):
        code, out, _ = command("ckpt", "inspect", name, "--json")
        assert code == 0
        found[name] = json.loads(out)
    assert {name: facts["kind"] for name, facts in found.items()} == {
        "a.pth": "Trainwright 0.1.0",
        "iter_10": "Trainwright 0.1.0, step folder",
        "w.safetensors": "safetensors",
        "w.pth": "weights",
        "m.pth": "MMCV 1.x 1.7.1",
        "step": "torch.distributed.checkpoint folder",
    }
    assert found["w.safetensors"]["dtypes"] == {"bfloat16": 1}
    assert (found["iter_10"]["world_size"], found["iter_10"]["step"]) == (1, {"epoch": 2, "iter": 10})
    assert found["a.pth"]["parts"]["state_dict"] == {"n_tensors": 7, "n_bytes": 33 * 4 + 4}


def test_verify(command, files):
    code, out, _ = command("ckpt", "verify", "a.pth", "iter_10")
    assert (code, out.splitlines()[-1]) == (0, "2 checked, 0 damaged")
    data = bytearray((files / "a.pth").read_bytes())
    data[data.index(tree()["state_dict"]["0.weight"].numpy().tobytes()) + 5] ^= 16
    (files / "a.pth").write_bytes(data)
    next((files / "iter_10").glob("tensors-*")).write_bytes(b"")
    code, out, _ = command("ckpt", "verify", files)
    assert code == 1
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["DAMAGED", "ok", "DAMAGED", "3"]
    assert "tensors-00000-of-00001.safetensors' has 0 bytes" in lines[2]
    code, out, _ = command("ckpt", "verify", files, "--json")
    assert code == 1
    assert [row["is_whole"] for row in json.loads(out)] == [False, True, False]


def test_verify_where_there_is_nothing(command, project):
    (project / "empty").mkdir()
    code, _, err = command("ckpt", "verify", "empty")
    assert code == 1
    assert "no checkpoint lies in 'empty'" in err
    code, out, _ = command("ckpt", "verify", "gone.pth")
    assert code == 1
    assert "DAMAGED" in out
    assert "does not exist" in out


def test_diff(command, files):
    code, out, _ = command("ckpt", "diff", "a.pth", "iter_10")
    assert code == 0
    assert out.startswith("equal: ")
    code, out, _ = command("ckpt", "diff", "a.pth", "b.pth")
    assert code == 1
    assert out.splitlines()[-1] == "first that differs: meta.iter"
    code, out, _ = command("ckpt", "diff", "a.pth", "b.pth", "--key", "state_dict", "--json")
    assert code == 1
    result = json.loads(out)
    assert result["differences"][0]["place"] == "0.weight"
    assert result["counts"]["other value"] + result["counts"]["equal"] == 7
    assert "1.num_batches_tracked" not in {row["place"] for row in result["differences"]}
    assert 0 < result["largest"] < 10


def test_diff_names_what_kind_of_difference(command, project):
    nan = float("nan")
    write_file(project / "a.pth", {"s": {"w": torch.ones(2), "n": torch.tensor([nan]), "x": 1, "t": torch.ones(1)}})
    write_file(
        project / "b.pth", {"s": {"w": torch.ones(3), "n": torch.tensor([nan]), "y": 1, "t": torch.ones(1).half()}}
    )
    _, out, _ = command("ckpt", "diff", "a.pth", "b.pth", "--json")
    assert json.loads(out)["counts"] == {
        "equal": 1, "only in A": 1, "only in B": 1, "other shape": 1, "other type": 1, "other value": 0
    }  # fmt: skip


def test_diff_of_what_cannot_be_read(command, files):
    code, _, err = command("ckpt", "diff", "a.pth", "gone.pth")
    assert code == 2
    assert "does not exist" in err
    code, _, err = command("ckpt", "diff", "a.pth", "b.pth", "--key", "state_dic")
    assert code == 2
    assert "Did you mean 'state_dict'?" in err


@pytest.mark.parametrize("way", [("b2.pth",), ("step", "c.pth"), ("step", "step2", "c.pth")])
def test_convert_there_and_back(command, files, way):
    name = "a.pth"
    for target in way:
        code, out, err = command("ckpt", "convert", name, "-o", target)
        assert code == 0, err
        name = target
    assert differences(read_checkpoint(name), tree()) == []


def test_convert_to_safetensors_and_back(command, files):
    before = unchanged(files)
    code, out, _ = command("ckpt", "convert", "a.pth", "-o", "w.safetensors")
    assert code == 0
    assert "left out, because a safetensors file holds weights only: meta, optimizer, hooks, message_hub" in out
    assert differences(load_file("w.safetensors"), dict(tree()["state_dict"])) == []
    assert command("ckpt", "convert", "w.safetensors", "-o", "w.pth")[0] == 0
    assert differences(dict(read_checkpoint("w.pth")["state_dict"]), dict(tree()["state_dict"])) == []
    assert {path: path.read_bytes() for path in before} == before


def test_convert_makes_old_files_safe(command, project):
    given = {"meta": {"iter": np.int64(3)}, "state_dict": {"w": torch.ones(2)}}
    torch.save(given, project / "old.pth", _use_new_zipfile_serialization=False)
    assert command("ckpt", "convert", "old.pth", "-o", "new.pth")[0] == 0
    assert torch.load("new.pth", weights_only=True)["meta"] == {"iter": 3}


def test_nothing_is_replaced_without_force(command, files):
    before = unchanged(files)
    for words in (["convert", "a.pth", "-o", "b.pth"], ["average", "a.pth", "-o", "b.pth"]):
        code, _, err = command("ckpt", *words)
        assert code == 1
        assert "'b.pth' exists: choose another name, or replace it with --force." in err
    assert unchanged(files) == before
    assert command("ckpt", "convert", "a.pth", "-o", "b.pth", "--force")[0] == 0
    assert differences(read_checkpoint("b.pth"), tree()) == []
    code, _, err = command("ckpt", "convert", "a.pth", "-o", "iter_10", "--to", "pth", "--force")
    assert (code, "is of another layout" in err) == (1, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.pth", "-o", "no/b.pth"], "the folder 'no' does not exist: make it first."),
        (["a.pth", "-o", "b", "--to", "zip"], "there is no layout 'zip': choose pth, safetensors, folder."),
        (["toy.py", "-o", "b.pth"], "is no checkpoint"),
    ],
)
def test_convert_errors(command, files, words, message):
    code, _, err = command("ckpt", "convert", *words)
    assert code == 1
    assert message in err


def test_safetensors_cannot_hold_everything(command, project):
    write_file(project / "a.pth", {"state_dict": {"w": torch.ones(2, dtype=torch.complex64)}})
    write_file(project / "b.pth", {"state_dict": {}})
    for name in ("a.pth", "b.pth"):
        code, _, err = command("ckpt", "convert", name, "-o", "w.safetensors")
        assert code == 1
        assert "the safetensors format cannot hold this" in err
    assert not (project / "w.safetensors").exists()


def test_publish(command, files):
    code, out, _ = command("ckpt", "publish", "a.pth")
    assert code == 0
    (made,) = files.glob("a-*.pth")
    assert out.splitlines() == [f"wrote {made.name}", "left out: optimizer, hooks, message_hub"]
    assert set(read_checkpoint(made)) == {"meta", "state_dict"}
    assert "was there already with the same content" in command("ckpt", "publish", "a.pth")[1]
    code, out, _ = command("ckpt", "publish", "a.pth", "--key", "optimizer", "--key", "no", "-o", "opt.pth")
    assert "not in the checkpoint: no" in out
    assert len(list(files.glob("opt-*.pth"))) == 1
    code, _, err = command("ckpt", "publish", "a.pth", "--key", "no")
    assert (code, "nothing of the checkpoint" in err) == (1, True)
    assert "does not exist: make it first" in command("ckpt", "publish", "a.pth", "-o", "no/x.pth")[2]


def test_average(command, files):
    one, two = tree()["state_dict"], tree(1)["state_dict"]
    assert command("ckpt", "average", "a.pth", "b.pth", "-o", "mean.pth")[0] == 0
    mean = read_checkpoint("mean.pth")
    assert torch.equal(
        mean["state_dict"]["0.weight"], ((one["0.weight"].double() + two["0.weight"].double()) / 2).float()
    )
    assert mean["state_dict"]["1.num_batches_tracked"].dtype == torch.int64
    assert mean["meta"]["averaged"] == ["a.pth", "b.pth"]
    code, _, _ = command("ckpt", "average", "a.pth", "b.pth", "--weight", "3", "--weight", "1", "-o", "w.safetensors")
    assert code == 0
    assert torch.allclose(load_file("w.safetensors")["0.bias"], one["0.bias"] * 0.75 + two["0.bias"] * 0.25)


def test_average_of_ema_weights(command, project):
    for n in (1, 3):
        ema = {"steps": torch.tensor(n), "module.w": torch.full((2,), float(n))}
        write_file(project / f"{n}.pth", {"state_dict": {"w": torch.zeros(2)}, "ema_state_dict": ema})
    assert command("ckpt", "average", "1.pth", "3.pth", "--key", "ema_state_dict", "-o", "m.pth")[0] == 0
    assert read_checkpoint("m.pth")["state_dict"]["w"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.pth", "b.pth", "--weight", "1"], "2 checkpoints were named and 1 weights: give one weight each."),
        (["a.pth", "b.pth", "--weight", "1", "--weight", "-1"], "cannot be scaled to a sum of 1"),
        (["a.pth", "b.pth", "--key", "nothing"], "'a.pth' has no part 'nothing' to average; it has meta, state_dict"),
        (["a.pth", "c.pth"], "cannot be averaged: only one of them has"),
        (["a.pth", "d.pth"], "has the shapes (4, 3) and (4, 9)"),
    ],
)
def test_average_errors(command, files, words, message):
    state = tree()["state_dict"]
    write_file(files / "d.pth", {"state_dict": {**state, "0.weight": torch.ones(4, 9)}})
    write_file(files / "c.pth", {"state_dict": {"x": torch.ones(1)}})
    code, _, err = command("ckpt", "average", *words, "-o", "m.pth")
    assert code == 1
    assert message in err
    assert not (files / "m.pth").exists()


def test_trust(command, project):
    torch.save({"state_dict": {"w": torch.ones(2)}, "x": Local()}, project / "a.pth")
    code, _, err = command("ckpt", "inspect", "a.pth")
    assert code == 1
    assert "test_ckpt_commands.Local" in err
    assert "--trust-checkpoint" in err
    code, out, _ = command("ckpt", "inspect", "a.pth", "--trust-checkpoint")
    assert code == 0
    assert "weights" in out


def test_trust_on_the_command_line_of_training_and_testing(command, project):
    assert command("train", "toy.py")[0] == 0
    path = project / "work_dirs" / "toy" / "epoch_2.pth"
    whole = read_checkpoint(path)
    torch.save({**whole, "x": Local()}, project / "a.pth")
    code, _, err = command("test", "toy.py", "a.pth")
    assert (code, "trust_checkpoint=True in a config" in err) == (1, True)
    assert command("test", "toy.py", "a.pth", "--trust-checkpoint")[0] == 0
    more = ["--cfg-options", "train_cfg.max_epochs=3"]
    assert command("train", "toy.py", "--work-dir", "two", "--resume", "a.pth", *more)[0] == 1
    code, out, err = command("train", "toy.py", "--work-dir", "two", "--resume", "a.pth", "--trust-checkpoint", *more)
    assert code == 0, err
    assert "Trained 3 epochs" in out
    code, out, _ = command("train", "toy.py", "--cfg-options", "load_from=a.pth", "trust_checkpoint=True")
    assert code == 0


@pytest.mark.parametrize("name", ["inspect", "verify", "diff", "convert", "publish", "average"])
def test_help(command, name):
    code, out, _ = command("ckpt", name, "--help")
    assert code == 0
    assert "--trust-checkpoint" in out
