from mmengine.config import read_base

with read_base():
    from .._base_.optim import *
aunt = dict(lr=lr, wrapper=optim_wrapper)
