scale = 2


def widths(n, *, start=1, **rest):
    """Global names are seen inside."""
    def inner(i):
        return start + i * scale
    return [inner(i) for i in range(n)] + sorted(rest.values())


def generator():
    yield from (dict(i=i) for i in range(2))


async def coroutine():
    return 1

double = lambda x, y=3: (x * 2, y)
made = widths(3, start=5, b=2, a=1)
generated = list(generator())
doubled = double(4)
recursive = (lambda f, n: f(f, n))(lambda f, n: 1 if n < 2 else n * f(f, n - 1), 5)
model = dict(type='Net', widths=tuple(widths(2)))
scale = 3
late = widths(1)
