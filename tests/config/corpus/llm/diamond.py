from mmengine.config import read_base

with read_base():
    from .diamond_left import *
    from .diamond_right import *

same = model is shared_right
total = dict(left=left, right=right)
