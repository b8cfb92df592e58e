_base_ = ['./delete_everywhere.py']
nothing = dict(z=1, x=dict(_delete_=True, w=2))
j = dict(nothing=dict(added=1))
k = [dict(other=1)]
l = dict(_delete_=True)
a = dict(_delete_=True, **_base_.a)
h = dict(_delete_=True, shared=_base_.c)
