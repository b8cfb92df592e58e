import json
import os
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import load_file

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint import folder as folders
from trainwright.checkpoint.chunks import Chunk
from trainwright.checkpoint.folder import (
    OpenFiles,
    check_folder,
    folder_meta,
    read_folder,
    read_own_parts,
    write_folder,
)
from trainwright.checkpoint.manifest import Manifest
from trainwright.testing.toys import differences


@pytest.fixture
def tree():
    linear = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(linear.parameters())
    linear(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {
        "meta": {"epoch": 1, "iter": 5, "cfg": "lr = 1\n", "classes": ("a", "b")},
        "state_dict": linear.state_dict(),
        "optimizer": optimizer.state_dict(),
        "types": [torch.arange(3).to(d) for d in (torch.int64, torch.uint8, torch.bfloat16, torch.bool, torch.float64)],
        "unknown_to_safetensors": torch.ones(2, dtype=torch.complex64),
        "odd": {"empty": torch.zeros(0, 3), "scalar": torch.tensor(3.0), "turned": torch.arange(6.0).view(2, 3).t()},
        "two_keys_of_one_text": {1: torch.ones(1), "1": torch.zeros(1)},
        "rng": [{"torch": torch.get_rng_state()}],
    }


@pytest.fixture
def step(tmp_path, tree):
    write_folder(tmp_path / "iter_5", tree)
    return tmp_path / "iter_5"


def refusal(path, reader=read_folder):
    with pytest.raises(CheckpointError) as caught:
        reader(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_written_is_read(step, tree):
    back = read_folder(step)
    assert differences(back, tree) == []
    assert type(back["state_dict"]) is OrderedDict
    assert back["state_dict"]._metadata == tree["state_dict"]._metadata
    check_folder(step)
    assert folder_meta(step) == {"iter": 5, "epoch": 1}
    assert os.listdir(step.parent) == ["iter_5"]


def test_the_package_reads_the_tensors_under_their_names(step, tree):
    tensors = load_file(step / "tensors-00000-of-00001.safetensors")
    assert torch.equal(tensors["state_dict.weight"], tree["state_dict"]["weight"])
    assert torch.equal(tensors["optimizer.state.0.exp_avg"], tree["optimizer"]["state"][0]["exp_avg"])
    assert torch.equal(tensors["two_keys_of_one_text.1#2"], torch.zeros(1))


def test_tied_weights_are_written_once_and_stay_tied(tmp_path):
    weight = torch.ones(3)
    write_folder(tmp_path / "a", {"state_dict": {"in": weight, "out": weight}})
    assert list(load_file(tmp_path / "a" / "tensors-00000-of-00001.safetensors")) == ["state_dict.in"]
    back = read_folder(tmp_path / "a")["state_dict"]
    assert back["in"] is back["out"]


def test_a_sparse_tensor_goes_with_the_plain_data(tmp_path):
    write_folder(tmp_path / "a", {"eye": torch.eye(3).to_sparse()})
    assert torch.equal(read_folder(tmp_path / "a")["eye"].to_dense(), torch.eye(3))


def test_map_location(step):
    assert read_folder(step, "meta")["state_dict"]["weight"].device.type == "meta"
    assert read_folder(step, lambda storage, where: storage)["state_dict"]["weight"].device.type == "cpu"
    assert read_folder(step, None)["state_dict"]["weight"].device.type == "cpu"
    assert read_folder(step, {"cpu": "meta"})["state_dict"]["weight"].device.type == "meta"


def test_an_object_is_refused_with_its_place_and_nothing_is_left(tmp_path):
    with pytest.raises(CheckpointError, match=r"\['meta'\]\['model'\] is a "):
        write_folder(tmp_path / "a", {"meta": {"model": object()}})
    assert os.listdir(tmp_path) == []


def test_a_second_save_of_a_step_replaces_the_first(step, tree):
    write_folder(step, {**tree, "meta": {"iter": 5, "epoch": 2}})
    assert folder_meta(step)["epoch"] == 2
    assert os.listdir(step.parent) == ["iter_5"]


def test_a_second_save_that_dies_between_the_renames_leaves_the_first(step, tree, monkeypatch):
    def rename(source, target):
        if os.path.basename(target) == "iter_5":
            raise KeyboardInterrupt
        os_rename(source, target)

    os_rename = os.rename
    monkeypatch.setattr(folders.os, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        write_folder(step, tree)
    monkeypatch.undo()
    (left,) = [path for path in step.parent.iterdir() if folders.ASIDE in path.name]
    assert differences(read_folder(left), tree) == []


def test_a_disk_that_refuses_leaves_nothing(tmp_path, tree, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_folder(tmp_path / "a", tree)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


# damage -------------------------------------------------------------------------------------------------------------


def test_no_manifest_is_no_checkpoint(step):
    (step / "MANIFEST.json").unlink()
    assert "it has no MANIFEST.json" in refusal(step)
    assert "it has no MANIFEST.json" in refusal(step, folder_meta)


def test_a_missing_a_short_and_a_changed_file(step):
    file = step / "tensors-00000-of-00001.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "the checksum of its file 'tensors-00000-of-00001.safetensors'" in refusal(step)
    file.write_bytes(data[:-1])
    assert f"has {len(data) - 1:,} bytes instead of {len(data):,}" in refusal(step)
    file.unlink()
    assert "is missing" in refusal(step)
    assert "is missing" in refusal(step, check_folder)


@pytest.mark.parametrize("at", [0, 40, 100, -2])
def test_a_changed_manifest(step, at):
    file = step / "MANIFEST.json"
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)
    assert "MANIFEST.json" in refusal(step)


def rewrite(step, change):
    """A manifest with another content and a digest that fits it."""
    manifest = Manifest.read(step)
    change(manifest)
    (step / "MANIFEST.json").write_bytes(manifest.to_bytes())


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", "a/b"])
def test_a_manifest_that_points_elsewhere(step, name):
    rewrite(step, lambda manifest: manifest.files.update({name: manifest.files["state.pth"]}))
    assert "which is no file of the folder" in refusal(step)


def test_a_manifest_of_a_version_to_come(step):
    body = json.loads((step / "MANIFEST.json").read_text())
    body.pop("digest")
    body["version"] = 2
    from trainwright.checkpoint.manifest import _digest

    (step / "MANIFEST.json").write_text(json.dumps({**body, "digest": _digest(body)}))
    assert "version 2, and this Trainwright reads trainwright.step up to version 1" in refusal(step)


def test_a_tensor_with_a_gap(step):
    def cut(manifest):
        chunk = manifest.tensors["state_dict.weight"].chunks[0]
        manifest.tensors["state_dict.weight"].chunks[0] = Chunk(chunk.offset, (1, 3), chunk.file)

    rewrite(step, cut)
    assert "of the tensor 'state_dict.weight' 3 of 6 numbers are there" in refusal(step)


def test_a_tensor_that_is_not_there(step):
    rewrite(step, lambda manifest: manifest.tensors.pop("state_dict.bias"))
    assert "it has no tensor 'state_dict.bias'" in refusal(step)


def test_a_part_of_a_tensor_is_read_alone(step, tree):
    entry = Manifest.read(step).tensors["state_dict.weight"]
    with OpenFiles(step) as files:
        part = files.tensor(entry, Chunk((1, 0), (1, 2)))
    assert torch.equal(part, tree["state_dict"]["weight"][1:, :2])


def test_a_tensor_that_is_left_in_its_file_is_read_by_whatever_is_done_with_it(step, tree):
    stored = read_own_parts(step)["state_dict"]["weight"]
    assert "StoredTensor('state_dict.weight', shape=(2, 3), dtype=torch.float32)" in repr(stored)
    for read in (stored.to(torch.float32), stored.cpu(), stored.contiguous(), stored.detach(), stored + 0):
        assert type(read) is torch.Tensor
        assert torch.equal(read, tree["state_dict"]["weight"])


def test_a_tensor_that_is_left_in_its_file_cannot_be_changed_there(step):
    stored = read_own_parts(step)["state_dict"]["weight"]
    with pytest.raises(CheckpointError, match=r"'state_dict.weight' of a checkpoint lies in its file and cannot be"):
        stored.mul_(2)


def test_an_optimizer_trains_on_states_of_another_shape_than_their_parameter(tmp_path):
    model = torch.nn.Linear(3, 2)
    optimizers = [torch.optim.Adafactor(model.parameters(), lr=0.1) for _ in range(2)]
    model(torch.ones(1, 3)).sum().backward()
    optimizers[0].step()
    write_folder(tmp_path / "iter_1", {"optimizer": optimizers[0].state_dict()})
    optimizers[1].load_state_dict(read_own_parts(tmp_path / "iter_1")["optimizer"])
    for optimizer in optimizers:
        model.weight.grad = torch.full_like(model.weight, 2.0)
        optimizer.step()
    rows = [optimizer.state[model.weight]["row_var"] for optimizer in optimizers]
    assert type(rows[1]) is torch.Tensor
    assert torch.equal(*rows)
