from mmengine.config import read_base

with read_base():
    from ._base_.runtime import *

_kept = [_private]
__dropped = 1
_ = 'underscore'
