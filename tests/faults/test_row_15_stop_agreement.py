"""Some ranks are asked to stop, at moments of their own: all stop after the same iteration."""

import os
import random
import signal

import pytest

from trainwright.base.errors import Preempted
from trainwright.dist import get_rank, get_world_size
from trainwright.engine import Hook
from trainwright.runner import Runner
from trainwright.testing.ranks import run_ranks
from trainwright.testing.toys import toy_config, toy_loader

N_EPISODES = 40
EVENTS = ("before_train_iter", "after_train_iter", "before_val_iter", "before_val_iter", "before_run")


class Shot(Hook):
    """SIGTERM to this process when an event comes for the nth time."""

    def __init__(self, event, nth):
        self.event, self.left = event, nth

    def _count(self, event):
        if event == self.event:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGTERM)

    def before_run(self, runner):
        self._count("before_run")

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self._count("before_train_iter")

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._count("after_train_iter")

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self._count("before_val_iter")


def episode(folder, n):
    draw = random.Random(n)
    plans = {}
    for rank in draw.sample(range(get_world_size()), draw.randint(1, get_world_size())):
        event = draw.choice(
            ["before_train_iter", "after_train_iter", "before_val_iter", "before_val_iter", "before_run"]
        )
        plans[rank] = (event, 1 if event == "before_run" else draw.randint(1, 6))
    hooks = [Shot(*plans[get_rank()])] if get_rank() in plans else []
    runner = Runner.from_cfg(
        toy_config(
            folder / f"{n}",
            train_dataloader=toy_loader(16, 16 // 4 // get_world_size()),
            val_dataloader=toy_loader(25, 1, shuffle=False),
            train_cfg={"by_epoch": True, "max_epochs": 3},
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": draw.choice([1, 1, 2])},
            custom_hooks=hooks,
            default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": -1}},
            strategy={"type": "DDPStrategy"},
            env_cfg={"preemption": {"deadline_s": 60}} if n % 4 == 0 else {},
        )
    )
    with pytest.raises(Preempted) as stopped:
        runner.train()
    name = os.path.basename(str(stopped.value.checkpoint))
    return runner.iter, runner.ctx.clock.val_due, name, stopped.value.exit_code


def episodes(folder):
    return [episode(folder, n) for n in range(N_EPISODES)]


@pytest.mark.parametrize("world_size", [2, pytest.param(4, marks=pytest.mark.conformance)])
def test_all_ranks_stop_after_the_same_iteration(tmp_path, world_size):
    first, *others = run_ranks(world_size, episodes, tmp_path, timeout_s=120)
    assert all(other == first for other in others)
    assert {code for *_, code in first} == {75}
    assert all(name in (f"iter_{done}.pth", "None") for done, _, name, _ in first)
    assert {val_due for _, val_due, *_ in first} == {True, False}, "some were in a validation"
    assert len({done for done, *_ in first}) > 4
