import os
import pickle
import random
import zipfile

import fsspec
import numpy as np
import pytest
import torch

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint import check_file, read_file, read_meta, write_file
from trainwright.testing.toys import differences


class Local:
    """A class that no checkpoint may need."""


class Bomb:
    def __init__(self, fuse):
        self.fuse = str(fuse)

    def __reduce__(self):
        return os.mkdir, (self.fuse,)


@pytest.fixture
def tree():
    linear = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(linear.parameters())
    linear(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {
        "meta": {"epoch": 1, "iter": 5, "cfg": "lr = 1\n", "classes": ("a", "b"), "none": None},
        "state_dict": linear.state_dict(),
        "optimizer": optimizer.state_dict(),
        "dtypes": [torch.arange(3).to(d) for d in (torch.int64, torch.bfloat16, torch.float16, torch.bool)],
        "empty": torch.zeros(0, 3),
        "numbers": {"nan": float("nan"), "big": 2**70, "set": {1, 2}},
    }


@pytest.fixture
def file(tmp_path, tree):
    path = tmp_path / "a.pth"
    write_file(path, tree)
    return path


def test_what_is_written_is_read(file, tree):
    assert differences(read_file(str(file)), tree) == []
    assert differences(read_file(file), tree) == []  # a path object
    check_file(str(file))
    assert read_meta(str(file)) == tree["meta"]
    assert [path.name for path in file.parent.iterdir()] == ["a.pth"]


def test_plain_torch_reads_it_without_code(file, tree):
    assert differences(torch.load(file, weights_only=True), tree) == []


def test_shared_memory_stays_shared(tmp_path):
    weight = torch.ones(3)
    write_file(tmp_path / "a.pth", {"a": weight, "b": weight.view(3, 1)})
    tree = read_file(str(tmp_path / "a.pth"))
    tree["a"].fill_(7)
    assert tree["b"].flatten().tolist() == [7, 7, 7]


def test_numpy_and_subclasses_become_plain(tmp_path):
    write_file(tmp_path / "a.pth", {"acc": np.float64(0.5), "table": np.eye(2), "size": torch.Size([1])})
    tree = read_file(str(tmp_path / "a.pth"))
    assert (type(tree["acc"]), tree["size"]) == (float, (1,))
    assert torch.equal(tree["table"], torch.eye(2, dtype=torch.float64))


def test_map_location(file):
    tree = read_file(str(file), map_location="meta")
    assert tree["state_dict"]["weight"].device.type == "meta"
    assert tree["meta"]["iter"] == 5


def test_an_object_is_refused_with_its_place_and_nothing_is_written(tmp_path):
    write_file(tmp_path / "a.pth", {"old": 1})
    with pytest.raises(CheckpointError) as caught:
        write_file(tmp_path / "a.pth", {"message_hub": {"infos": [1, {"model": Local()}]}})
    message = str(caught.value)
    assert "was not written: ['message_hub']['infos'][1]['model'] is a " in message
    assert "Local" in message
    assert "before_save_checkpoint()" in message
    assert read_file(str(tmp_path / "a.pth")) == {"old": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_disk_that_refuses_leaves_the_old_file(file, tree, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_file(file, {"new": 1})
    monkeypatch.undo()
    assert differences(read_file(str(file)), tree) == []
    assert len(list(file.parent.iterdir())) == 1


def test_a_url_is_read(file, tree):
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/format-test/a.pth", file.read_bytes())
    memory.pipe_file("/format-test/empty.pth", b"")
    memory.pipe_file("/format-test/cut.pth", file.read_bytes()[:-9])
    try:
        assert differences(read_file("memory://format-test/a.pth"), tree) == []
        check_file("memory://format-test/a.pth")
        for name, expected in (("b", "does not exist"), ("empty", "is empty"), ("cut", "truncated or damaged")):
            with pytest.raises(CheckpointError, match=expected):
                read_file(f"memory://format-test/{name}.pth")
        with pytest.raises(CheckpointError, match="does not exist"):
            check_file("memory://format-test/b.pth")
    finally:
        memory.rm("/format-test", recursive=True)


# damage: refused by type and with a reason, never read wrongly ----------------------------------------------------


def refusal(path, reader=read_file):
    with pytest.raises(CheckpointError) as caught:
        reader(str(path))
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("reader", [read_file, check_file])
def test_a_missing_file_with_near_names(file, reader):
    (file.parent / "epoch_11.pth").touch()
    message = refusal(file.parent / "epoch_1.pth", reader)
    assert "does not exist in" in message
    assert "Did you mean 'epoch_11.pth'?" in message
    assert "its folder" in refusal(file.parent / "no" / "epoch_1.pth", reader)
    assert "is a folder" in refusal(file.parent, reader)


@pytest.mark.parametrize("reader", [read_file, check_file])
def test_an_empty_file(tmp_path, reader):
    (tmp_path / "a.pth").touch()
    assert "is empty (0 bytes)" in refusal(tmp_path / "a.pth", reader)


def test_a_truncated_file_at_any_length(file):
    whole = file.read_bytes()
    for length in [1, 2, 3, 4, 30, *range(50, len(whole), len(whole) // 12), len(whole) - 22, len(whole) - 1]:
        file.write_bytes(whole[:length])
        message = refusal(file)
        assert "truncated or damaged" in message or "is no checkpoint" in message
        refusal(file, check_file)
        refusal(file, read_meta)


@pytest.mark.parametrize("seed", [0, 1])
def test_one_flipped_bit_is_never_read_wrongly(file, tree, seed):
    whole = file.read_bytes()
    rand = random.Random(seed)
    n_refused = 0
    for _ in range(80):
        damaged = bytearray(whole)
        damaged[rand.randrange(len(whole))] ^= 1 << rand.randrange(8)
        file.write_bytes(damaged)
        try:
            got = read_file(str(file))
        except CheckpointError:
            n_refused += 1
        else:  # a bit that means nothing: padding, a date
            assert differences(got, tree) == []
    assert n_refused > 20


def test_every_bit_of_a_tensor_is_under_a_checksum(tmp_path):
    weight = torch.arange(256, dtype=torch.uint8)
    path = tmp_path / "a.pth"
    write_file(path, {"w": weight})
    whole = path.read_bytes()
    start = whole.index(bytes(range(256)))
    for offset in range(0, 256, 5):
        damaged = bytearray(whole)
        damaged[start + offset] ^= 1 << offset % 8
        path.write_bytes(damaged)
        message = refusal(path)
        assert "the checksum of its entry" in message
        assert "data/0" in message
    check_file(str(path))  # looks at the table only


@pytest.mark.parametrize("at", ["flags", "method", "version", "offset"])
def test_damage_in_the_table_of_the_archive(file, at):
    damaged = bytearray(file.read_bytes())
    entry = damaged.index(b"PK\x01\x02")
    field = {"version": 6, "flags": 8, "method": 10, "offset": 43}[at]
    damaged[entry + field] ^= 0xFF if at != "flags" else 1
    file.write_bytes(damaged)
    assert " damaged" in refusal(file)


def test_an_archive_that_is_no_checkpoint(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "is a zip archive, but no checkpoint" in refusal(tmp_path / "a.pth")
    assert "no checkpoint" in refusal(tmp_path / "a.pth", check_file)


@pytest.mark.parametrize(
    "content", [b"hello world\n" * 9, b'{"a": 1}', b"x", b"\x00" * 64, pickle.dumps({"a": 1}), pickle.dumps({}, 2)]
)
def test_a_file_of_another_kind(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    message = refusal(tmp_path / "a.pth")
    assert "is no checkpoint: torch.save makes a zip archive" in message
    assert repr(content[:8]) in message
    refusal(tmp_path / "a.pth", check_file)
    refusal(tmp_path / "a.pth", read_meta)


@pytest.mark.parametrize("new_zip", [True, False])
def test_a_file_with_objects_is_refused_and_names_them(tmp_path, new_zip):
    torch.save({"state_dict": {}, "x": Local()}, tmp_path / "a.pth", _use_new_zipfile_serialization=new_zip)
    message = refusal(tmp_path / "a.pth")
    assert "was refused: it holds Python objects" in message
    assert f"it names {__name__}.Local" in message
    assert "weights_only" not in message  # torch's advice to read unsafely is not passed on


@pytest.mark.parametrize("new_zip", [True, False])
@pytest.mark.parametrize("reader", [read_file, read_meta, check_file])
def test_a_pickle_bomb_does_not_go_off(tmp_path, new_zip, reader):
    fuse = tmp_path / "exploded"
    torch.save({"meta": Bomb(fuse)}, tmp_path / "a.pth", _use_new_zipfile_serialization=new_zip)
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Bomb(fuse)))
    for name in ("a.pth", "b.pth"):
        if reader is not check_file or name == "b.pth":
            refusal(tmp_path / name, reader)
        else:
            check_file(str(tmp_path / name))
    assert not fuse.exists()


def test_torch_s_old_format_is_read(tmp_path):
    torch.save({"w": torch.arange(3)}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert read_file(str(tmp_path / "a.pth"))["w"].tolist() == [0, 1, 2]
    check_file(str(tmp_path / "a.pth"))
    whole = (tmp_path / "a.pth").read_bytes()
    for length in (20, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a.pth").write_bytes(whole[:length])
        refusal(tmp_path / "a.pth")


@pytest.mark.parametrize("value", [torch.ones(2), [1, 2], 3])
def test_something_that_is_no_dict(tmp_path, value):
    torch.save(value, tmp_path / "a.pth")
    assert f"it holds a {type(value).__name__}, not a dict" in refusal(tmp_path / "a.pth")


@pytest.mark.parametrize("tree", [{"state_dict": {}}, {"meta": {}}, {"meta": {"iter": "five"}}, {"meta": 3}])
def test_meta_of_a_file_without_training_state(tmp_path, tree):
    write_file(tmp_path / "a.pth", tree)
    assert "has no readable training state" in refusal(tmp_path / "a.pth", read_meta)
