_base_ = './delete_base.py'
shared = dict(_delete_=True, new=1)
a = shared
b = shared
c = dict(inner=shared)
d = dict(inner=shared, again=shared)
