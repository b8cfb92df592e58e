from mmengine.config import read_base
from tuner.optim import AdamW, optimizer
from tuner.losses import loss

with read_base():
    from ._base_.optim import lr, schedules

# names of imports are taken for values
optimizer = dict(type=AdamW, lr=lr)
loss = [loss, loss.inner]
schedules = dict(replaced=True)
lr += 1
list_ = list((1, 2))
