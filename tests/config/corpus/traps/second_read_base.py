from mmengine.config import read_base

with read_base():
    from ..llm._base_.optim import lr

width = 3

with read_base():
    from ..llm._base_.data import *
    from .plain_base import model as plain

plain.depth = width
train_dataloader.batch_size = 2
