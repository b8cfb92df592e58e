_base_ = './level1.py'
model = dict(a=2, b=dict(y=2), steps=_base_.model.steps + [2])
only2 = {{ _base_.only1 }}
