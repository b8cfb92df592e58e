from mmengine.config import read_base

with read_base():
    from .error_circular_import_a import *
