big = 10 ** 40 + 123456789012345678901234567890
hexed, octal, binary, grouped = 0xFF, 0o17, 0b1010, 1_000_000
floats = [1e-05, 1., .5, 1e400, -1e400, 0.1 + 0.2, 1e16, 5e-324, -0.0]
infinite = dict(inf=float('inf'), minus=float('-inf'))
complex_ = [1j, 2 + 3j]
booleans = [True, False, None, not None]
strings = ['single', "double", 'it\'s', "say \"hi\"", """triple 'both" """, r'raw\n', 'new\nline', 'tab\t', 'nul\0', '\x7f', 'ü', '\u00fc', '日本語', '😀', '\ud800'.encode('utf-8', 'replace').decode()]
joined = ('implicit '
          'concatenation ' 'of strings')
bytes_ = b'bytes\xff\x00'
ellipsis = ...
empty = [[], (), {}, '', set(), frozenset()]
sets = [{1, 2, 3}, frozenset({'a'}), {(1, 2), 'x', None}]
slices = [slice(1), slice(None, None, 2), slice(1, 'a', None)]
ranges = [range(3), range(1, 10, 2)]
tuples = [(1, ), (1, 2), ((), ((), )), (1, [2, {'a': (3, )}])]
nested_quotes = dict(a="'", b='"', c="'\"", d='\\', e="'''", f='"""', g='\'"\'\\')
long_text = 'word ' * 50
deep = dict(a=dict(b=dict(c=dict(d=dict(e=dict(f=[[[[[1]]]]]))))))
