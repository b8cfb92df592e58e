"""What the tests share that check, through ``import detectron2``, what its users rely on."""

import torch
from torch import nn


class Model(nn.Module):
    """It says one loss, to which every parameter belongs."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x):
        return {"loss": x.sum() + sum(p.mean() for p in self.parameters())}


def batches():
    while True:
        yield torch.rand(3, 3)


def simple(module, model=None, loader=None, lr=0.1, **settings):
    model = model or Model()
    optimizer = torch.optim.SGD(model.parameters(), lr)
    return module.SimpleTrainer(model, loader or batches(), optimizer, **settings)
