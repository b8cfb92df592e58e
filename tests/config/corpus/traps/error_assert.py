n = 3
assert n == 4, 'n must be four'
