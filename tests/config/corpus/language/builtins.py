numbers = [len('abc'), max(1, 2), min([3, 1]), abs(-1), round(2.567, 1), sum([1, 2]), pow(2, 3), divmod(7, 2), int('12'), float('1.5'), bool([]), int(2.9)]
texts = [str(1), repr('a'), chr(97), ord('a'), 'a-b'.split('-'), '-'.join(['a', 'b']), 'Abc'.lower(), ' x '.strip(), 'abc'[::-1], 'a' * 3, 'abc'.replace('b', ''), 'x'.zfill(3)]
lists = [list('ab'), sorted([2, 1], reverse=True), list(reversed([1, 2])), list(map(int, '12')), list(filter(None, [0, 1])), list(enumerate('a')), list(range(0, 6, 2))]
tests = [isinstance(1, int), 'a' in 'abc', any([0, 1]), all([]), callable(len), hasattr('', 'join')]
attributes = [getattr('', 'nothing', 'default'), type(1) is int]
of_types = dict(a=int, b=[str, dict], c=(float, ), d={'k': list})
