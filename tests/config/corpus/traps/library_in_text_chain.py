_base_ = './library_after_base.py'
model = dict(inner=dict(more=1))
same = _base_.layers
