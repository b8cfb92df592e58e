ok = 1
model = dict(type='X'
other = 2
