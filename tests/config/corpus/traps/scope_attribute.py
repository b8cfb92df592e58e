_base_ = './plain_base.py'
scope = _base_.model.scope
item = _base_.model['scope']
