from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.runner import LogProcessor

default_scope = 'mmdet'
default_hooks = dict(logger=dict(type=LoggerHook, interval=50), checkpoint=dict(type=CheckpointHook, interval=1))
log_processor = dict(type=LogProcessor, window_size=50, by_epoch=True)
log_level = 'INFO'
