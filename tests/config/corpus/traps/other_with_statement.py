from contextlib import suppress
_base_ = './plain_base.py'
with suppress(AttributeError):
    size = _base_.nowhere
with suppress(KeyError):
    del _base_.a['zzz']
    size = 1
del suppress
