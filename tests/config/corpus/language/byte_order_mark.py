a = 1
b = dict(c=2)
