"""Train, validate and resume without a config file: a dataset, a model and a Runner."""

import torch
from torch import nn
from torch.utils.data import TensorDataset

from trainwright import BaseModel, Runner


def points(n: int, seed: int) -> TensorDataset:
    """Points of the plane, and whether they lie outside of a circle."""
    xy = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(xy, (xy.norm(dim=1) > 1.2).long())


class Classifier(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, xy, label=None, mode="tensor"):
        scores = self.net(xy)
        if mode == "loss":
            return {"loss": nn.functional.cross_entropy(scores, label)}
        return [{"scores": scores, "label": label}] if mode == "predict" else scores


model = Classifier()
runner = Runner(
    model=model,
    work_dir="work_dirs/code_first",
    train_dataloader=dict(dataset=points(2000, seed=1), batch_size=50, shuffle=True, collate_fn="default_collate"),
    val_dataloader=dict(dataset=points(500, seed=2), batch_size=100, collate_fn="default_collate"),
    train_cfg=dict(by_epoch=True, max_epochs=5),
    val_cfg=dict(),
    val_evaluator=dict(type="Accuracy"),
    optim_wrapper=dict(optimizer=torch.optim.AdamW(model.parameters(), lr=0.01)),
    resume=True,  # from the latest checkpoint in work_dir, if there is one
)
runner.train()
