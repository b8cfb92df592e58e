from mmengine.config import read_base

with read_base():
    from .diamond_top import *

model.depth = 1
left = dict(model=model)
