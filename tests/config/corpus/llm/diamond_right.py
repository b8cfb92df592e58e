from mmengine.config import read_base

with read_base():
    from .diamond_top import *
    from .diamond_top import model as shared_right

model.width = 2
right = dict(model=model, shared=shared_right)
