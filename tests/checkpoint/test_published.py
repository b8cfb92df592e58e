"""Copies of checkpoints to give away: their names, and what is in them."""

import pytest
import torch

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint import read_file
from trainwright.checkpoint.published import is_published, publish_keys


def test_names():
    assert is_published("a-0123abcd.pth")
    assert not any(
        map(is_published, ["a.pth", "a-0123abcg.pth", "a-0123abcd.pt", "-0123abcdx.pth", "a-123abcd.pth", ""])
    )


def test_the_same_content_has_the_same_name(tmp_path):
    tree = {"state_dict": {"w": torch.arange(3.0)}, "meta": {"iter": 1}}
    one = publish_keys(tmp_path / "one.pth", tree, ["state_dict"])
    two = publish_keys(tmp_path / "two", dict(reversed(tree.items())), ["state_dict"])
    assert one.path[-12:] == two.path[-12:]
    assert two.path.startswith(str(tmp_path / "two-"))
    assert (one.left_out, one.missing) == (["meta"], [])
    assert torch.equal(read_file(one.path)["state_dict"]["w"], torch.arange(3.0))
    assert list(read_file(one.path)) == ["state_dict"]


def test_a_copy_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(CheckpointError, match="was not written"):
        publish_keys(tmp_path / "one.pth", {"state_dict": object()}, ["state_dict"])
    assert list(tmp_path.iterdir()) == []
