_base_ = ['../delete_base.py', '../literals.py']
if _base_.a.old == 1:
    a = dict(old=_base_.a.old + 1)
    _base_.b.inner.old = 'in if'
for key in ('c', 'd'):
    _base_[key].inner.old = key
    _base_[key].inner.update({key: dict(added=True)})
for _i, item in enumerate(_base_.k):
    item.index = _i
del key, item
try:
    _base_.nowhere
except AttributeError:
    nowhere = 'no such key'
with_default = getattr(_base_, 'nowhere', 'default')
tuples = [t for t in _base_.tuples if len(t) == 1]
merged = {**_base_.deep, 'top': _base_.big % 1000}
