from mmengine.config import read_base

with read_base():
    from ..llm._base_.data import *

# the base imported a class under this name
Dataset = dict(type='now a value')
dataset = dict(type=Dataset)
