from mmengine.config import read_base

with read_base():
    from mmdet.configs._base_.models.detector import *
    from mmdet.configs._base_.runtime_new import *

from mmdet.models import SwinTransformer

model.update(dict(backbone=dict(_delete_=True, type=SwinTransformer, depths=[2, 2, 6, 2])))
model.merge(dict(neck=dict(_delete_=True, in_channels=[96, 192])))
default_hooks['checkpoint'].update(interval=5)
