model = dict(type='Net', depth=50, scope='own', inner=dict(a=1))
data_root = 'data/'
size = 32
a = dict(b='nested')
a_b = 'flat'
nothing = None
