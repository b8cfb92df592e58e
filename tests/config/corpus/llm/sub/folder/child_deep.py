from mmengine.config import read_base

with read_base():
    from ..._base_.runtime import *
    from ..._base_.model import model
    from .sibling import extra, pipeline as train_pipeline
    from ..aunt import *

model.update(extra)
here = __file__.rsplit('/', 2)[-2:]
