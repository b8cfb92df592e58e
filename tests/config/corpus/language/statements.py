a = b = [1]
b.append(2)
(c, d), *e = (1, 2), 3, 4
f, = [5]
g: int = 6
h: 'forward' = 7
not_set: int
i = 1
i += 2
i **= 2
i //= 2
i |= 8
i <<= 1
j = [0] * 3
j[1] = 'one'
j[2:] = ['two', 'three']
j += ('tuple', )
k = {}
k['x'] = {}
k['x']['y'] = k.setdefault('z', 3)
k.update(w=4)
del k['w']
if i > 100 and not j:
    branch = 'if'
elif i in (1, 2, 3) or k is None:
    branch = 'elif'
else:
    branch = 'else'
try:
    value = {}['missing']
except (KeyError, ValueError) as error:
    value = type(error).__name__
else:
    value = 'else'
finally:
    cleaned = True
for n in range(3):
    if n == 1:
        continue
    last = n
else:
    no_break = True
while True:
    break
pass
assert i, 'message'
if (w := len(j)) > 2:
    walrus = w
global_style = 1; same_line = 2
x = (
    1 +
    2)  # trailing comment
y = 1 if x else 2
z = not x or y and x
chain = 1 < 2 <= 2 != 3
bits = [1 & 3, 1 | 2, 1 ^ 3, ~1, 1 << 4, -7 // 2, -7 % 3, 2 ** -1, 7 / 2]
nothing = ...
