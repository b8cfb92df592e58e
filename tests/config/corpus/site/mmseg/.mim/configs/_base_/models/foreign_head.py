inner = dict(type='Inner', deeper=dict(type='Deeper'))
model = dict(
    backbone=dict(type='ResNet', norm=dict(type='BN')),
    decode_head=dict(type='FCNHead', loss=[dict(type='A'), dict(type='B', _scope_='other')]),
    auxiliary=[dict(heads=(dict(type='Tupled'), dict(name='no type')))],
    plain=dict(no_type=True))
second = dict(_scope_='mine', type='Second', inner=inner)
pipeline = [dict(type='One', transforms=[dict(type='Two')]), dict(kind='x', nested=dict(type='Three'))]
