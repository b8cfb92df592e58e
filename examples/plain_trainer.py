"""Train without a config: your model, loader and optimizer. Stop it anywhere; started again, it goes on bit for bit."""

import logging

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trainwright.trainer import Checkpointer, CommonMetricPrinter, SimpleTrainer, hooks

logging.basicConfig(level=logging.INFO, format="%(message)s")
torch.manual_seed(0)
xy = torch.randn(2000, 2)
points = TensorDataset(xy, (xy.norm(dim=1) > 1.2).long())  # of the plane, and whether they lie outside of a circle


class Classifier(nn.Sequential):
    def forward(self, batch):
        return {"loss": nn.functional.cross_entropy(super().forward(batch[0]), batch[1])}


model = Classifier(nn.Linear(2, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
trainer = SimpleTrainer(model, DataLoader(points, batch_size=50, shuffle=True), optimizer)
checkpointer = Checkpointer(model, "work_dirs/plain_trainer", trainer=trainer)
scheduler = hooks.LRScheduler(scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300))
saver, writer = hooks.PeriodicCheckpointer(checkpointer, 70), hooks.PeriodicWriter([CommonMetricPrinter(300)], 50)
trainer.register_hooks([hooks.IterationTimer(), scheduler, saver, writer])
checkpointer.resume_or_load("")
trainer.train(trainer.finished_iters, 300)
