"""Row 22: files that would run code or take all memory. 0 executed, memory bounded, each refused with a reason."""

import contextlib

import pytest
from bombs import EIGHT, MORE, in_a_small_process, zip_bomb

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint import check_checkpoint, read_checkpoint
from trainwright.checkpoint.folder import write_folder
from trainwright.checkpoint.manifest import NAME, Manifest
from trainwright.checkpoint.summary import verified


def refusal(path, environment=None):
    def work():
        try:
            tree = read_checkpoint(str(path))
        except CheckpointError as error:
            return f"refused: {error}"
        return f"read: {sorted(tree)}"

    return in_a_small_process(work, environment)


@pytest.mark.parametrize("make", [*EIGHT, *MORE], ids=lambda make: make.__name__)
def test_is_refused_and_runs_nothing_and_takes_little_memory(make, tmp_path):
    fuse = tmp_path / "fuse"
    path = make(tmp_path, fuse)
    told = refusal(path)
    assert told.startswith("refused: "), told
    assert str(path) in told
    assert "\n" not in told
    assert not fuse.exists()


def test_the_variable_that_makes_torch_read_unsafely_changes_nothing(tmp_path):
    fuse = tmp_path / "fuse"
    told = refusal(zip_bomb(tmp_path, fuse), {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"})
    assert told.startswith("refused: "), told
    assert "posix.mkdir" in told
    assert not fuse.exists()


@pytest.mark.parametrize("make", [zip_bomb, EIGHT[3], MORE[0]], ids=lambda make: make.__name__)
def test_no_other_reader_runs_it_either(make, tmp_path):
    fuse = tmp_path / "fuse"
    path = str(make(tmp_path, fuse))
    assert verified(path)[0].problem
    with contextlib.suppress(CheckpointError):
        check_checkpoint(path)
    assert not fuse.exists()


def test_what_the_reason_says(tmp_path):
    told = refusal(zip_bomb(tmp_path, tmp_path / "fuse"))
    for part in ("it names posix.mkdir", "trusted=True", "trust_checkpoint=True", "--trust-checkpoint"):
        assert part in told
    assert "weights_only" not in told


def test_it_runs_when_the_user_says_so_and_only_then(tmp_path, capfd):
    fuse = tmp_path / "fuse"
    path = str(zip_bomb(tmp_path, fuse))
    assert read_checkpoint(path, trusted=True) == {"x": None}
    assert fuse.is_dir()
    assert "because you trust it (trusted=True): that runs code of the file" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", ".", "sub/x"])
def test_a_manifest_that_names_a_file_elsewhere(tmp_path, name):
    write_folder(tmp_path / "iter_1", {"meta": {"iter": 1}})
    (tmp_path / "secret").write_bytes(b"x")
    manifest = Manifest.read(tmp_path / "iter_1")
    manifest.files[name] = manifest.files.pop("state.pth")
    (tmp_path / "iter_1" / NAME).write_bytes(manifest.to_bytes())
    assert "no file of the folder" in refusal(tmp_path / "iter_1")


def test_a_manifest_nested_a_million_deep(tmp_path):
    write_folder(tmp_path / "iter_1", {"meta": {"iter": 1}})
    (tmp_path / "iter_1" / NAME).write_bytes(b"[" * 10**6)
    assert "cannot be read" in refusal(tmp_path / "iter_1")


def test_a_sound_file_is_read_in_the_same_small_process(tmp_path):
    import torch

    torch.save({"w": torch.ones(3)}, tmp_path / "a.pth")
    assert refusal(tmp_path / "a.pth") == "read: ['w']"
