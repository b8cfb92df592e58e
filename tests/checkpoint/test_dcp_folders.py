"""Folders of torch.distributed.checkpoint."""

import io
import pickle
import shutil
import warnings

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint import read_checkpoint
from trainwright.checkpoint.dcp import read_dcp
from trainwright.testing.toys import differences

TREE = {
    "state_dict": {"weight": torch.arange(12.0).view(3, 4), "bias": torch.ones(3, dtype=torch.bfloat16)},
    "meta": {"iter": 3, "text": "hi", "list": [1, torch.ones(2)], "pair": (1, 2)},
    "empty": torch.zeros(0, 2),
    "number": torch.tensor(5),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dcp") / "step"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(TREE, checkpoint_id=folder)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "step")


def test_it_is_read_whole(folder):
    tree = read_checkpoint(folder)
    assert differences(tree, {**TREE, "meta": {**TREE["meta"], "pair": [1, 2]}}) in ([], differences(tree, TREE))
    assert torch.equal(tree["state_dict"]["weight"], TREE["state_dict"]["weight"])
    assert tree["meta"]["list"][1].tolist() == [1, 1]
    assert read_dcp(folder, "meta")["number"].device.type == "meta"


def sharded(folder, offsets, shape=(4, 3)):
    """A folder as two ranks write it: each a few rows of one tensor."""
    folder.mkdir()
    whole = torch.arange(12.0).view(4, 3)
    places, chunks = {}, []
    for rank, (start, n) in enumerate(offsets):
        buffer = io.BytesIO()
        torch.save(whole[start : start + n].clone(), buffer)
        (folder / f"__{rank}_0.distcp").write_bytes(b"before" + buffer.getvalue())
        offset = torch.Size([start, 0])
        chunks.append(ChunkStorageMetadata(offset, torch.Size([n, 3])))
        places[MetadataIndex("w", offset, rank)] = _StorageInfo(f"__{rank}_0.distcp", 6, len(buffer.getvalue()))
    entry = TensorStorageMetadata(TensorProperties(torch.float32), torch.Size(shape), chunks)
    metadata = Metadata({"w": entry}, planner_data=None, storage_data=places)
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    return folder, whole


def test_shards_are_put_together(tmp_path):
    folder, whole = sharded(tmp_path / "step", [(0, 3), (3, 1)])
    assert torch.equal(read_checkpoint(folder)["w"], whole)


def test_a_missing_shard_is_an_error(tmp_path):
    folder, _ = sharded(tmp_path / "step", [(0, 2), (3, 1)])
    with pytest.raises(CheckpointError, match="9 of 12 numbers are there"):
        read_checkpoint(folder)
    folder, _ = sharded(tmp_path / "other", [(0, 3), (3, 1)])
    (folder / "__1_0.distcp").unlink()
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        read_checkpoint(folder)


def test_a_file_that_is_cut(folder):
    data = folder / "__0_0.distcp"
    data.write_bytes(data.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="names bytes that the file"):
        read_checkpoint(folder)


def test_a_flipped_bit_in_a_tensor_is_found_by_the_sums_of_the_archives_inside(folder):
    data = bytearray((folder / "__0_0.distcp").read_bytes())
    data[data.index(TREE["state_dict"]["weight"].numpy().tobytes()) + 3] ^= 1
    (folder / "__0_0.distcp").write_bytes(data)
    with pytest.raises(CheckpointError, match="checksum"):
        read_checkpoint(folder)


def test_damaged_metadata(folder):
    whole = (folder / ".metadata").read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"hello", pickle.dumps({"a": 1})):
        (folder / ".metadata").write_bytes(content)
        with pytest.raises(CheckpointError):
            read_checkpoint(folder)
