_base_ = 'names.py'
name = dict(type='changed')
seen = [_base_._single, _base_._, _base_.ünïcode, _base_.type, _base_['items'], _base_['keys']]
has_private = '__private' in _base_
