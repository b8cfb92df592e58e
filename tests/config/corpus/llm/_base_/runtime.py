from mmengine.hooks import LoggerHook
from mmengine.runner import LogProcessor

default_hooks = dict(logger=dict(type=LoggerHook, interval=10))
log_processor = dict(type=LogProcessor, by_epoch=False)
log_level = 'INFO'
_private = 'single underscore'
__hidden = 'double underscore'
