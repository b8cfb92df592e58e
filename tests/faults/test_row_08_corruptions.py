"""Bits flipped, ends cut off, blocks of zeros, empty and missing files: each is noticed, and said, and stepped over."""

import pytest
import torch
from corruptions import Target
from harness import HALF_OF_LAYOUTS

N_FILES = {"file": 1, "folder": 4}


@pytest.mark.parametrize("layout", HALF_OF_LAYOUTS)
def test_no_damage_goes_unnoticed(tmp_path, layout):
    target = Target(tmp_path, layout)
    files = target.files()
    assert len(files) == N_FILES[layout]
    for number, file in enumerate(files):
        tally = target.damage(file, 500, seed=number)
        assert tally.problems == []
        assert tally.n == 500
        assert len(tally.kinds) == 5


def test_a_reader_that_compares_no_checksum_is_caught(tmp_path):
    target = Target(tmp_path, "file")
    target.work.read_with(lambda path: torch.load(path, weights_only=True))
    (file,) = target.files()
    problems = target.damage(file, 40, seed=0).problems
    assert any("silently wrong" in problem for problem in problems)
