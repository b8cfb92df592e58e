squares = [n * n for n in range(4)]
filtered = [n for n in range(10) if n % 2 if n > 3]
pairs = [(i, j) for i in range(3) for j in range(i)]
nested = [[i * j for j in range(2)] for i in range(2)]
as_dict = {f'k{n}': dict(n=n) for n in range(2)}
as_set = {n % 2 for n in range(4)}
generated = tuple(n for n in 'ab')
scoped = [dict(type=t, layer=layer) for t, layer in [('A', 'Conv'), ('B', ['x', 'y'])]]
conditional = ['even' if n % 2 == 0 else 'odd' for n in range(2)]
unpacked = [*squares, *range(2), *'ab']
merged = {**as_dict, 'k0': 1, **dict(z=2)}
called = dict(**as_dict, **{'extra': 3})
tuple_ = (*squares, 1)
transposed = list(zip(*[[1, 2], [3, 4]]))
walrus = [y := 1, y ** 2]
summed = sum(x for x in squares)
flattened = sum([[1], [2, 3]], [])
table = {(i, j): i + j for i, j in pairs}
text = ''
del text
