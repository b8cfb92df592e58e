_base_ = '../delete_base.py'
a = dict(new=1)
_base_ = '../names.py'
b = dict(inner=dict(new=2))
