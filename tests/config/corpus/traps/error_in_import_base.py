from mmengine.config import read_base

with read_base():
    from .error_import_raises import *
