_base_ = '../delete_base.py'
attribute = _base_.a.old
item = _base_['b']['inner']['old']
mixed = _base_.c['inner'].inner.old
got = _base_.get('a').get('old', 0), _base_.get('zzz', None)
slices = _base_.n.inner[::-1], _base_.k[0].old, _base_.m[2:], _base_.m.upper()
formatted = f'{_base_.m}/{_base_.a.old}/{_base_.b}'
compared = _base_.a == dict(old=1), _base_.a == {'old': 2}, _base_.b.inner is _base_.b['inner']
loop = {key: type(value).__name__ for key, value in _base_.items()}
truth = [bool(_base_.a), bool(_base_.get('none')), not _base_]
is_dict = isinstance(_base_.a, dict)
alias = _base_
second = alias.a


def from_function(key):
    return _base_[key]


called = from_function('e')
listed = [_base_[key] for key in ('a', 'b') if key in _base_]
spread = dict(**_base_.a, **{'new': 1})
del alias
