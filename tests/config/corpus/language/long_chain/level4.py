_base_ = 'level3.py'
model = dict(b=dict(x=4), steps=_base_.model.steps + [4], where=_base_.where)
del _base_.only1
