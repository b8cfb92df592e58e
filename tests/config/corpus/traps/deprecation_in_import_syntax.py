from tuner.models import Model

_deprecation_ = dict(expected='other.py')
model = dict(type=Model, _delete_=True)
