_base_ = './delete_base.py'
a = dict(_delete_=True, new=1)
b = dict(inner=dict(_delete_=True, new=1))
c = dict(inner=dict(inner=dict(_delete_=True, new=1)))
d = dict(inner=dict(inner=dict(inner=dict(_delete_=True))))
e = dict(_delete_=True)
f = dict(_delete_=False, new=1)
g = dict(inner=dict(_delete_=0, new=1))
h = dict(_delete_='yes', new=1)
i = dict(_delete_=None, new=1)
nothing = dict(_delete_=True, x=dict(_delete_=True, y=1))
j = dict(nothing=dict(_delete_=True, y=1), inner=dict(nothing=dict(_delete_=False)))
k = [dict(_delete_=True, listed=1)]
l = dict(_delete_=True, inner=dict(_delete_=True, list=[dict(_delete_=True)]))
m = dict(_delete_=True, now='a dict')
n = dict(inner=dict(_delete_=True, was='a list'))
o = dict(inner=5)
p = None
q = dict(inner=None)
