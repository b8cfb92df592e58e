_base_ = '../base_use/assign_all.py'
k = _base_.k + [{{_base_.fresh}}]
n = dict(inner=[*_base_.n.inner, 'more'])
b = dict(inner=dict(new=2, other=[dict(a=1), dict(_delete_=True)]))
