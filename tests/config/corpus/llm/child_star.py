from mmengine.config import read_base

with read_base():
    from ._base_.data import *
    from ._base_.model import *
    from ._base_.optim import *
    from ._base_.runtime import *

log_level = 'WARNING'
lr = 2e-4
model.norm.eps = 1e-5
model['head']['vocab'] = 64000
model.update(dict(act=None, head=dict(tied=True)))
optim_wrapper.optimizer.lr = lr
optim_wrapper.update(dict(clip_grad=dict(max_norm=1)))
train_dataloader.pop('num_workers')
del train_dataloader['dataset']['path']
default_hooks.update(checkpoint=dict(interval=100))
schedules.append(dict(type='CosineAnnealingLR'))
