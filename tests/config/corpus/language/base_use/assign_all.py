_base_ = '../delete_base.py'
_base_.a = 'string instead of a dict'
_base_['b'] = dict(inner=dict(new=1))
_base_.c['inner'] = [1]
_base_.c.new = dict(x=1)
_base_.update(dict(d=dict(inner=dict(merged=1)), fresh=dict(y=2)))
_base_.merge(dict(e=dict(_delete_=True, merged=2)))
_base_.k[0].update(dict(old=2))
_base_.k.append(_base_.a)
_base_.l.inner.clear()
setattr(_base_, 'by_setattr', 1)
_base_.setdefault('f', 'stays')
_base_.setdefault('made', {'by': 'setdefault'})
popped = _base_.pop('g')
default = _base_.pop('nowhere', 'default')
del _base_['h'], _base_.i
j = dict(inner=dict(x=1))
names = sorted(_base_)
