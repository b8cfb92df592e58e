from mmengine.config import read_base

with read_base():
    from ._base_.data import dataset
    from ._base_.data import dataset as copy_of_dataset
    from ._base_.data import template as t1, template as t2

copy_of_dataset.path = 'changed.jsonl'
t1.update(dict(SYSTEM='changed'))
