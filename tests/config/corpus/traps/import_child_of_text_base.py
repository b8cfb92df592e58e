from mmengine.config import read_base

with read_base():
    from ..detection.one_stage.one_stage_for_import import *
    from ..llm._base_.runtime import default_hooks
    from .plain_base import a as renamed, size

model.update(dict(bbox_head=dict(num_classes=size)))
default_hooks.logger.interval = 1
train_cfg['max_epochs'] = 3
