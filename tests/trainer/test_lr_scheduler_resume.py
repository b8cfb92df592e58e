"""Schedules of torch and ours, gone on with in the middle: rates, weights and histories are those of one run."""

import os

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from trainwright import optim
from trainwright.trainer import Checkpointer, LRScheduler, PeriodicCheckpointer, SimpleTrainer

SCHEDULES = {
    "milestones": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [2, 7]),
    "one cycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=12),
    "cyclic": lambda optimizer: lr_scheduler.CyclicLR(optimizer, 0.01, 0.1, step_size_up=3),
    "function": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda iteration: 0.5**iteration),
    "chained": lambda optimizer: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(optimizer, 0.1, 2), lr_scheduler.ExponentialLR(optimizer, 0.9)]
    ),
    "our cosine": lambda optimizer: optim.CosineAnnealingLR(optimizer, T_max=10, by_epoch=False),
    "our milestones": lambda optimizer: optim.MultiStepLR(optimizer, milestones=[2, 7]),
    "of the progress": lambda optimizer: lambda progress: 1 - progress,
}


class Model(nn.Linear):
    def forward(self, batch):
        return super().forward(batch).square().mean()


def train(schedule, folder, resumes):
    torch.manual_seed(3)
    model = Model(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    trainer = SimpleTrainer(model, [torch.ones(1, 2), torch.zeros(1, 2)], optimizer)
    checkpointer = Checkpointer(model, folder, trainer=trainer)
    hooks = [LRScheduler(scheduler=SCHEDULES[schedule](optimizer)), PeriodicCheckpointer(checkpointer, 5)]
    trainer.register_hooks(hooks)
    if resumes:
        checkpointer.resume_or_load("")
        assert trainer.finished_iters == 5
    trainer.train(trainer.finished_iters, 10)
    return model.weight.detach(), optimizer.param_groups[0]["lr"], trainer.storage.history("lr").values()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_resumed_schedule_is_the_whole_one(schedule, tmp_path):
    whole = train(schedule, tmp_path, resumes=False)
    for name in ("model_final.pth", "model_0000009.pth"):
        os.remove(tmp_path / name)
    (tmp_path / "last_checkpoint").write_text("model_0000004.pth", encoding="utf-8")
    resumed = train(schedule, tmp_path, resumes=True)
    assert torch.equal(whole[0], resumed[0])
    assert whole[1:] == resumed[1:]
    assert len({value for value, _ in whole[2]}) > 2
