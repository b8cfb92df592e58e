from mmengine.config import read_base

with read_base():
    from .child_star import *
    # the same names once more from below: the last one wins
    from ._base_.optim import *

from torch.optim import SGD

optim_wrapper.merge(dict(optimizer=dict(_delete_=True, type=SGD, lr=lr)))
model = dict(model, extra=1)
log_level = log_level + '!'
