"""A process group in the garbage of a process: one forked from it would wait for ever for the threads of the group."""

import subprocess
import sys

import pytest

PROGRAM = """
import gc, sys
import torch
from torch import distributed as torch_dist
from trainwright.data import KeyedDataLoader
from trainwright.data.builder import build_dataloader
from trainwright.testing.ranks import run_alone


class Collects(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        gc.collect()
        return torch.zeros(1)


class Circle:
    pass


def leave_a_group_in_the_garbage(store):
    torch_dist.init_process_group("gloo", f"file://{store}", rank=0, world_size=1)
    circle = Circle()
    circle.itself, circle.group = circle, torch_dist.group.WORLD
    torch_dist.destroy_process_group()


gc.disable()
leave_a_group_in_the_garbage(sys.argv[2])
if sys.argv[1] == "rank":
    run_alone(gc.collect, timeout_s=20.0)
else:
    cfg = dict(dataset=Collects(), batch_size=1, num_workers=1, timeout=20, sampler=dict(type="DefaultSampler"))
    assert len(list(build_dataloader(cfg, seed=1, keyed=sys.argv[1] == "keyed"))) == 2
print("went on")
"""


@pytest.mark.parametrize("forked", ["rank", "keyed", "unkeyed"])
def test_it_is_left_alone(tmp_path, forked):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, forked, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "went on\n", done.stderr[-2000:]
