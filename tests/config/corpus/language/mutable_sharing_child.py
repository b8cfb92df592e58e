_base_ = './mutable_sharing.py'
model = dict(a=dict(changed='only here'))
_base_.model.b.only = 'b'
stages = _base_.stages
stages[0].third = 1
both = [_base_.norm, _base_.norm]
both[0].twice = True
