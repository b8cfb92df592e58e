plain = {'a': 1, 'b-c': 2, 'with space': 3, '': 4, 'class': 5, '1': 6, 'ü': 7, 'dotted.key': 8}
other = {None: 'none', 1: 'one', -2: 'minus', 2.5: 'float', True: 'true', (1, 2): 'tuple', (None, ('a', )): 'nested', b'b': 'bytes', ...: 'ellipsis', frozenset({1}): 'set', 'None': 'text'}
reserved_looking = dict(type='X', name=1, file='f', items=2, keys=3, values=4, get=5, pop=6, update=7, copy=8, self=9, filename='fine here', text='fine', lambda_=1)
methods = {'merge': 1, 'to_dict': 2, 'clear': 3, 'setdefault': 4, 'build_lazy': 5}
dunder = {'__class__': 1, '__dict__': 2, '__private': 3, '_single': 4, '__len__': 5}
order = dict(z=1, a=2, m=3)
dict_ = dict({'k': 1}, v=2)
from_pairs = dict([('a', 1), ('b', 2)], **{'c d': 3})
