from mmengine.config import read_base

with read_base():
    from .plain_base import model, sice
