_base_ = ['level2.py']
model = dict(b=dict(_delete_=True, z=3), steps=_base_.model.steps + [3])
tag = _base_.model.tag + '-level3'
